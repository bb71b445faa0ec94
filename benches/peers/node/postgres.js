// Express, Stripe's own library for the signature, and one INSERT a request through pg's pool.
// Usage: node postgres.js PORT SECRET DATABASE_URL
"use strict";
const { inWorker, workers } = require("./workers.js");

if (inWorker()) {
  const express = require("express");
  const { Pool } = require("pg");
  const [port, secret, database] = process.argv.slice(2);
  // Signatures are checked without asking Stripe: the key of the API is never used.
  const stripe = require("stripe")("sk_test_unused");
  // 32 connections in all, as the other peers have.
  const pool = new Pool({ connectionString: database, max: Math.ceil(32 / workers) });
  // With a name it is prepared once a connection.
  const name = "insert_event";
  const text = "INSERT INTO event (id, body, received_at) VALUES ($1, $2, now()) ON CONFLICT DO NOTHING";

  const app = express();
  app.disable("x-powered-by");
  app.disable("etag");
  app.post("/in/stripe", express.raw({ type: () => true, limit: "8mb" }), async (request, response) => {
    let event;
    try {
      event = stripe.webhooks.constructEvent(request.body, request.headers["stripe-signature"], secret);
    } catch {
      return response.sendStatus(400);
    }
    try {
      await pool.query({ name, text, values: [event.id, request.body] });
    } catch {
      return response.sendStatus(503);
    }
    return response.status(200).end();
  });
  app.listen(Number(port), "127.0.0.1").keepAliveTimeout = 75_000;
}
