// One worker a core, as Express's guide to production asks for: it returns true in a worker.
// The first process only starts and ends them; the port is shared through it.
"use strict";
const cluster = require("node:cluster");
const os = require("node:os");

const workers = os.availableParallelism();

function inWorker() {
  if (cluster.isWorker) return true;
  for (let n = 0; n < workers; n += 1) cluster.fork();
  // A worker that can't go on must fail the benchmark, not shrink the contest.
  cluster.on("exit", (worker, code) => process.exit(code || 1));
  process.on("SIGTERM", () => {
    cluster.removeAllListeners("exit");
    cluster.disconnect(() => process.exit(0));
    for (const worker of Object.values(cluster.workers)) worker.process.kill("SIGTERM");
  });
  return false;
}

module.exports = { inWorker, workers };
