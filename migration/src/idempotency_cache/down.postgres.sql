DROP TRIGGER idempotency_key_answer_changed ON idempotency_key;
DROP TRIGGER idempotency_key_answer_deleted ON idempotency_key;
DROP TRIGGER idempotency_key_truncated ON idempotency_key;
DROP FUNCTION hookonce_idempotency_cache_turn();
DROP TABLE idempotency_cache;
