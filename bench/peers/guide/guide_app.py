# SPDX-License-Identifier: Apache-2.0
"""Peer (e): the Python stack pacer takes over, as its guide describes it.

FastAPI with pydantic models for the request and the decision contract; a feature cache in Redis
(SHA-256 over the features as JSON with sorted keys, GET, and SETEX on a miss); ONNX Runtime in the
request, one intra-op thread. Left out, each in this peer's favour: the micro-batcher's 5 ms
window, the SLO monitor and OpenTelemetry.

Environment: BENCH_MODEL (path of mlp.onnx), REDIS_URL.
"""

import hashlib
import json
import os
from functools import lru_cache
from typing import Any, Callable, Literal

import numpy as np
import onnxruntime as ort
import redis
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field

FEATURES = 32
ACTIONS = ("deposit", "hold", "rebalance")
TTL_S = 300


class Tensor(BaseModel):
    name: str
    shape: list[int]
    datatype: Literal["FP32"]
    data: list[float] = Field(min_length=FEATURES, max_length=FEATURES)


class InferRequest(BaseModel):
    id: str | None = None
    inputs: list[Tensor] = Field(min_length=1, max_length=1)


class Contract(BaseModel):
    action: Literal["deposit", "hold", "rebalance"]
    confidence: float = Field(ge=0, le=1)
    reason: dict[str, Any]
    limits: dict[str, Any]


@lru_cache
def get_onnx_session(path: str) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run_onnx_inference(path: str, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    return get_onnx_session(path).run(None, inputs)


class FeatureCache:
    def __init__(self, url: str):
        self.redis = redis.Redis.from_url(url)

    def cached_predict(
        self,
        model: str,
        features: dict[str, float],
        infer_fn: Callable[[dict[str, float]], dict],
        ttl: int,
    ) -> dict:
        digest = hashlib.sha256(json.dumps(features, sort_keys=True).encode()).hexdigest()
        key = f"features:{model}:{digest}"
        stored = self.redis.get(key)
        if stored is not None:
            return json.loads(stored)
        result = infer_fn(features)
        self.redis.setex(key, ttl, json.dumps(result))
        return result


MODEL = os.environ["BENCH_MODEL"]
cache = FeatureCache(os.environ["REDIS_URL"])
get_onnx_session(MODEL)
app = FastAPI()


def predict(features: dict[str, float]) -> dict:
    row = np.array([list(features.values())], dtype=np.float32)
    probabilities = run_onnx_inference(MODEL, {"input": row})[0][0]
    best = int(probabilities.argmax())
    return {"action": ACTIONS[best], "confidence": float(probabilities[best])}


@app.get("/v2/health/ready")
async def ready():
    return {"ready": True}


@app.post("/v2/models/mlp/infer")
async def infer(request: InferRequest) -> Contract:
    tensor = request.inputs[0]
    if tensor.shape != [1, FEATURES]:
        raise HTTPException(400, f"shape {tensor.shape}: expected [1, {FEATURES}]")
    features = {f"f{i}": value for i, value in enumerate(tensor.data)}
    result = cache.cached_predict("mlp", features, predict, TTL_S)
    return Contract(
        **result,
        reason={"summary": f"the model favours {result['action']}"},
        limits={"max_amount": 250.0},
    )
