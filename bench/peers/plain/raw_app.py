# SPDX-License-Identifier: Apache-2.0
"""Peer (d) with FastAPI's own work bypassed: raw request in, ready response object out."""

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from plain_app import ANSWER

app = FastAPI()


@app.get("/v2/health/ready")
async def ready():
    return {"ready": True}


@app.post("/v2/models/mlp/infer")
async def infer(request: Request):
    body = await request.json()
    if len(body["inputs"][0]["data"]) != 32:
        return JSONResponse({"error": "expected 32 values"}, status_code=400)
    return JSONResponse(ANSWER)
