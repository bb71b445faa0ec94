DROP TABLE upkeep_run;
DROP TABLE rejection;
DROP TABLE attempt;
DROP TABLE delivery;
DROP TABLE event_conflict;
DROP TABLE event_body;
DROP TABLE event;
