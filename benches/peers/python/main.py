"""FastAPI and asyncpg: one INSERT a request. Settings come by environment, because uvicorn starts it.

SECRET is the signatures' key, DATABASE the URL, POOL the connections of one worker.
"""

import hashlib
import hmac
import json
import os
import time
from contextlib import asynccontextmanager

import asyncpg
from fastapi import FastAPI, Request, Response

SECRET = os.environ["SECRET"].encode()
TOLERANCE = 300
INSERT = "INSERT INTO event (id, body, received_at) VALUES ($1, $2, now()) ON CONFLICT DO NOTHING"


@asynccontextmanager
async def lifespan(app: FastAPI):
    size = int(os.environ["POOL"])
    # asyncpg prepares each statement once a connection and keeps it.
    async with asyncpg.create_pool(os.environ["DATABASE"], min_size=size, max_size=size) as pool:
        app.state.pool = pool
        yield


# Without its documentation routes, as in production.
app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)


def verified(header: str, body: bytes) -> bool:
    parts = [part.split("=", 1) for part in header.split(",") if "=" in part]
    stamp = next((value for key, value in parts if key == "t"), "")
    if not stamp.isdigit() or abs(time.time() - int(stamp)) > TOLERANCE:
        return False
    wanted = hmac.new(SECRET, stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return any(key == "v1" and hmac.compare_digest(value, wanted) for key, value in parts)


@app.post("/in/stripe")
async def receive(request: Request) -> Response:
    body = await request.body()
    if not verified(request.headers.get("stripe-signature", ""), body):
        return Response(status_code=400)
    await app.state.pool.execute(INSERT, json.loads(body)["id"], body)
    return Response(status_code=200)
