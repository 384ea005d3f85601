# SPDX-License-Identifier: Apache-2.0
"""The usual micro-batcher in Python: FastAPI, and a fixed window in front of ONNX Runtime.

The first request of a batch waits MAX_WAIT_MS for others, or until MAX_BATCH_SIZE are there. What
has come already is taken without waiting, and the run is on a thread of its own, so that requests
are read meanwhile; both in this peer's favour.

Environment: BENCH_MODEL (path of the model), BENCH_FEATURES (length of a row).
"""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime as ort
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field

MODEL = Path(os.environ["BENCH_MODEL"])
FEATURES = int(os.environ["BENCH_FEATURES"])
MAX_WAIT_MS = 5
MAX_BATCH_SIZE = 64


class Tensor(BaseModel):
    name: str
    shape: list[int]
    datatype: Literal["FP32"]
    data: list[float] = Field(min_length=FEATURES, max_length=FEATURES)


class InferRequest(BaseModel):
    id: str | None = None
    inputs: list[Tensor] = Field(min_length=1, max_length=1)


def open_session() -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(str(MODEL), options, providers=["CPUExecutionProvider"])


class MicroBatcher:
    def __init__(self, session: ort.InferenceSession):
        self.session = session
        self.queue: asyncio.Queue = asyncio.Queue()
        self.executor = ThreadPoolExecutor(1)

    async def predict(self, row: np.ndarray) -> np.ndarray:
        answer = asyncio.get_running_loop().create_future()
        self.queue.put_nowait((row, answer))
        return await answer

    async def collect(self) -> list:
        batch = [await self.queue.get()]
        until = asyncio.get_running_loop().time() + MAX_WAIT_MS / 1000
        while len(batch) < MAX_BATCH_SIZE:
            try:
                batch.append(self.queue.get_nowait())
                continue
            except asyncio.QueueEmpty:
                pass
            left = until - asyncio.get_running_loop().time()
            if left <= 0:
                break
            try:
                batch.append(await asyncio.wait_for(self.queue.get(), left))
            except TimeoutError:
                break
        return batch

    def run(self, rows: list) -> np.ndarray:
        return self.session.run(None, {"input": np.stack(rows)})[0]

    async def serve(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = await self.collect()
            try:
                rows = [row for row, _ in batch]
                results = await loop.run_in_executor(self.executor, self.run, rows)
            except Exception as error:
                for _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for (_, answer), result in zip(batch, results):
                if not answer.done():
                    answer.set_result(result)


batcher = MicroBatcher(open_session())


@asynccontextmanager
async def lifespan(_app: FastAPI):
    task = asyncio.create_task(batcher.serve())
    yield
    task.cancel()


app = FastAPI(lifespan=lifespan)


@app.get("/v2/health/ready")
async def ready():
    return {"ready": True}


@app.post(f"/v2/models/{MODEL.stem}/infer")
async def infer(request: InferRequest):
    tensor = request.inputs[0]
    if tensor.shape != [1, FEATURES]:
        raise HTTPException(400, f"shape {tensor.shape}: expected [1, {FEATURES}]")
    result = await batcher.predict(np.array(tensor.data, dtype=np.float32))
    output = {
        "name": "probabilities",
        "datatype": "FP32",
        "shape": [1, len(result)],
        "data": result.tolist(),
    }
    return {"model_name": MODEL.stem, "model_version": "1", "outputs": [output]}
