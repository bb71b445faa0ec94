DROP TRIGGER delivery_gone ON delivery;
DROP FUNCTION hookonce_delivery_gone();
DROP TRIGGER event_gone ON event;
DROP FUNCTION hookonce_event_gone();
ALTER TABLE attempt ADD CONSTRAINT attempt_delivery_fkey FOREIGN KEY (delivery_id) REFERENCES delivery (id);
ALTER TABLE delivery ADD CONSTRAINT delivery_event_fkey FOREIGN KEY (event_id) REFERENCES event (id);
ALTER TABLE event_body ADD CONSTRAINT event_body_event_fkey FOREIGN KEY (event_id) REFERENCES event (id);
