DROP TABLE captured_secret;
