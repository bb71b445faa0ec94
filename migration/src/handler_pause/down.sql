DROP TABLE handler_pause;
