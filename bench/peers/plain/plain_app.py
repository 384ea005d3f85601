# SPDX-License-Identifier: Apache-2.0
"""Peer (d): a plain FastAPI endpoint: JSON body parsed, a constant answered, no model."""

from fastapi import FastAPI, HTTPException

ANSWER = {
    "model_name": "mlp",
    "model_version": "1",
    "outputs": [
        {
            "name": "probabilities",
            "datatype": "FP32",
            "shape": [1, 3],
            "data": [0.2870955, 0.2180462, 0.4948584],
        }
    ],
}

app = FastAPI()


@app.get("/v2/health/ready")
async def ready():
    return {"ready": True}


@app.post("/v2/models/mlp/infer")
async def infer(body: dict):
    if len(body["inputs"][0]["data"]) != 32:
        raise HTTPException(400, "expected 32 values")
    return ANSWER
