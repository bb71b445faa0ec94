// Express, Stripe's own library for the signature, and Redis as the memory of ids: GET, then SETEX.
// It is what many tutorials show. Two copies at once both pass, and nothing is kept of the event.
// Usage: node redis.js PORT SECRET REDIS_PORT
"use strict";
const { inWorker } = require("./workers.js");

// For as long as hookonce remembers an id by default: 35 days.
const SECONDS = 35 * 24 * 3600;

async function main() {
  const express = require("express");
  const { createClient } = require("redis");
  const [port, secret, redisPort] = process.argv.slice(2);
  const stripe = require("stripe")("sk_test_unused");
  // One connection a worker, which pipelines by itself: what the client's guide recommends.
  const redis = createClient({ socket: { host: "127.0.0.1", port: Number(redisPort) } });
  redis.on("error", () => process.exit(1));
  await redis.connect();

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
    const key = `event:${event.id}`;
    if ((await redis.get(key)) === null) await redis.setEx(key, SECONDS, "1");
    return response.status(200).end();
  });
  app.listen(Number(port), "127.0.0.1").keepAliveTimeout = 75_000;
}

if (inWorker()) main();
