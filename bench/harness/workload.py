# SPDX-License-Identifier: Apache-2.0
"""The rows that are posted, and the check of a server's answers before it is measured."""

import http.client
import json
import math
import random

ROWS = 128
FEATURES = 32
PATH = "/v2/models/mlp/infer"
ACTIONS = ("deposit", "hold", "rebalance")
TOLERANCE = 1e-4


class WrongAnswer(Exception):
    pass


def rows():
    """The same rows on every machine. Many, since one row repeated trains the branch predictor."""
    source = random.Random(20)
    return [[round(source.gauss(0, 1), 5) for _ in range(FEATURES)] for _ in range(ROWS)]


def body(row):
    tensor = {"name": "input", "shape": [1, FEATURES], "datatype": "FP32", "data": row}
    return json.dumps({"inputs": [tensor]}, separators=(",", ":"))


def write_bodies(path):
    path.write_text("".join(body(row) + "\n" for row in rows()))


def post(connection, text):
    connection.request("POST", PATH, text, {"Content-Type": "application/json"})
    response = connection.getresponse()
    data = response.read()
    if response.status != 200:
        raise WrongAnswer(f"status {response.status}: {data[:200]!r}")
    try:
        return json.loads(data)
    except ValueError as error:
        raise WrongAnswer(f"not JSON ({error}): {data[:200]!r}") from None


def probabilities_of(answer):
    """A v2 answer's three probabilities; WrongAnswer if it is anything else."""
    try:
        output = answer["outputs"][0]
        name, datatype, shape, data = (output[k] for k in ("name", "datatype", "shape", "data"))
    except (KeyError, IndexError, TypeError):
        raise WrongAnswer(f"not a v2 answer: {str(answer)[:200]}") from None
    if (name, datatype, shape) != ("probabilities", "FP32", [1, 3]) or len(data) != 3:
        raise WrongAnswer(f"expected probabilities FP32 [1,3], got {str(output)[:200]}")
    if any(not 0 <= p <= 1 for p in data) or not math.isclose(sum(data), 1, abs_tol=TOLERANCE):
        raise WrongAnswer(f"no probabilities: {data}")
    return data


def check_contract(answer, expected):
    """The guide's contract; `expected` are the row's probabilities from another server, or None."""
    if not isinstance(answer, dict) or set(answer) != {"action", "confidence", "reason", "limits"}:
        raise WrongAnswer(f"not the contract: {str(answer)[:200]}")
    if answer["action"] not in ACTIONS or not 1 / 3 - TOLERANCE <= answer["confidence"] <= 1:
        raise WrongAnswer(f"action or confidence out of range: {str(answer)[:200]}")
    if expected is None:
        return
    best = max(range(3), key=expected.__getitem__)
    if answer["action"] != ACTIONS[best] or abs(answer["confidence"] - expected[best]) > TOLERANCE:
        raise WrongAnswer(f"{str(answer)[:120]} where another server computed {expected}")


class Checker:
    """Posts every row once. Later servers that compute must answer what the first one did."""

    def __init__(self):
        self.reference = None
        self.reference_of = None

    def check(self, name, kind, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            answers = [post(connection, body(row)) for row in rows()]
        except (OSError, http.client.HTTPException) as error:
            raise WrongAnswer(f"broke off: {error!r}") from None
        finally:
            connection.close()
        if kind == "contract":
            for index, answer in enumerate(answers):
                check_contract(answer, self.reference and self.reference[index])
            return
        computed = [probabilities_of(answer) for answer in answers]
        if kind == "computed":
            self._compare(name, computed)

    def _compare(self, name, computed):
        if len({tuple(row) for row in computed}) < ROWS // 2:
            raise WrongAnswer("the same answer for different rows")
        if self.reference is None:
            self.reference, self.reference_of = computed, name
            return
        for index, (ours, theirs) in enumerate(zip(computed, self.reference)):
            if max(abs(a - b) for a, b in zip(ours, theirs)) > TOLERANCE:
                raise WrongAnswer(f"row {index}: {ours}, but {self.reference_of} answers {theirs}")
