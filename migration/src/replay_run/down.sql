DROP TABLE replay_run;
