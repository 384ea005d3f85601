// SPDX-License-Identifier: Apache-2.0
// Peer (c): fastify in front of onnxruntime-node, one process, one intra-op thread, no spinning.
// Usage: node server.js PORT MODEL.onnx [FEATURES]
// The model is served under its file's name.
"use strict";

const path = require("node:path");
const fastify = require("fastify");
const ort = require("onnxruntime-node");

const FEATURES = Number(process.argv[4] || 32);

// A response schema lets fastify use its compiled serialiser, which is the fast way to run it.
const responseSchema = {
  type: "object",
  properties: {
    model_name: { type: "string" },
    model_version: { type: "string" },
    outputs: {
      type: "array",
      items: {
        type: "object",
        properties: {
          name: { type: "string" },
          datatype: { type: "string" },
          shape: { type: "array", items: { type: "integer" } },
          data: { type: "array", items: { type: "number" } },
        },
      },
    },
  },
};

function rowsOf(body) {
  const input = body && Array.isArray(body.inputs) ? body.inputs[0] : undefined;
  if (!input || input.name !== "input" || input.datatype !== "FP32") return 0;
  const { shape, data } = input;
  if (!Array.isArray(shape) || shape.length !== 2 || shape[1] !== FEATURES) return 0;
  if (!Array.isArray(data) || data.length !== shape[0] * FEATURES) return 0;
  return shape[0];
}

async function main(port, modelPath) {
  const session = await ort.InferenceSession.create(modelPath, {
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    executionMode: "sequential",
    extra: { session: { intra_op: { allow_spinning: "0" } } },
  });
  const name = path.basename(modelPath, ".onnx");
  const app = fastify({ logger: false });

  app.get("/v2/health/ready", async () => ({ ready: true }));
  app.post(
    `/v2/models/${name}/infer`,
    { schema: { response: { 200: responseSchema } } },
    async (request, reply) => {
      const rows = rowsOf(request.body);
      if (rows === 0) {
        return reply.code(400).send({ error: `expected one FP32 input [n,${FEATURES}]` });
      }
      const values = Float32Array.from(request.body.inputs[0].data);
      const results = await session.run({
        input: new ort.Tensor("float32", values, [rows, FEATURES]),
      });
      const output = results.probabilities;
      return {
        model_name: name,
        model_version: "1",
        outputs: [
          {
            name: "probabilities",
            datatype: "FP32",
            shape: output.dims,
            data: Array.from(output.data),
          },
        ],
      };
    },
  );
  await app.listen({ host: "127.0.0.1", port });
  process.on("SIGTERM", () => process.exit(0));
}

main(Number(process.argv[2]), process.argv[3]).catch((error) => {
  console.error(error);
  process.exit(1);
});
