#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Fits the coach's regime model on EuStockMarkets and writes every artefact the example serves.

    /usr/bin/python3 examples/coach/fit.py        (Debian: python3-sklearn, python3-onnx)

Nothing about the test period reaches the fit: the regime's thresholds, the choice among the
candidates and the coefficients come from the first 70 % of the days, minus the 20 days whose labels
would look past the split. A random split was rejected: neighbouring days share 19 of the 20 days
their labels are made of, so it would measure memory. The model that is written is the one that was
measured; it is not refitted on the test period.

The ONNX graph is written by hand rather than by a converter: a scaler and a linear classifier are
one LinearClassifier once the scaler is folded into the coefficients (in double precision), and the
reader can check it. The same inputs give the same bytes: one BLAS thread, no clock, no random
numbers but those of the seeded bootstrap and of the seeded candidates.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import json
import pathlib
import pickle

import numpy as np
import onnx
import sklearn
from onnx import TensorProto, helper
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

HERE = pathlib.Path(__file__).resolve().parent
INDICES = ["DAX", "SMI", "CAC", "FTSE"]
FEATURES = ["return_5d", "return_20d", "volatility_20d", "drawdown_60d", "correlation_20d"]
CLASSES = ["calm", "choppy", "stress"]
HORIZON = 20  # days a label looks ahead, and so the days purged at every split
FIRST_DAY = 60  # the first day with 60 closes behind it
TRAIN_SHARE = 0.7
CALM_QUANTILE, STRESS_QUANTILE = 0.60, 0.85
FOLDS = 5
MIN_CONFIDENCE = 0.5  # what pacer.yaml asks of a decision
BOOTSTRAP_BLOCK, BOOTSTRAP_RUNS = 40, 2000


# ---- data ---------------------------------------------------------------------------------------


def load():
    """Returns (decimal year [T], closes [T,4], daily log returns [T,4] whose first row is NaN)."""
    path = HERE / "data" / "eustockmarkets.csv"
    header = path.read_text().splitlines()[0].split(",")
    assert header == ["time"] + INDICES, header
    table = np.loadtxt(path, delimiter=",", skiprows=1)
    closes = table[:, 1:]
    returns = np.full_like(closes, np.nan)
    returns[1:] = np.diff(np.log(closes), axis=0)
    return table[:, 0], closes, returns


def features_of(day, closes, returns):
    """The five features of each index at the close of `day`, from that day and before: [4,5]."""
    window = returns[day - 19 : day + 1]
    correlation = np.corrcoef(window.T)
    others = len(INDICES) - 1
    return np.stack(
        [
            closes[day] / closes[day - 5] - 1,
            closes[day] / closes[day - 20] - 1,
            window.std(axis=0, ddof=1),
            closes[day] / closes[day - 59 : day + 1].max(axis=0) - 1,
            (correlation.sum(axis=0) - 1) / others,
        ],
        axis=1,
    )


def outcome_after(day, closes, returns):
    """(volatility [4], depth of the worst drawdown [4]) of the HORIZON days after `day`."""
    path = closes[day : day + HORIZON + 1]
    depth = -(path / np.maximum.accumulate(path, axis=0) - 1).min(axis=0)
    return np.stack([returns[day + 1 : day + HORIZON + 1].std(axis=0, ddof=1), depth])


def thresholds_of(outcomes):
    """The rule's four numbers, from the outcomes [D,2,4] of the training days alone."""
    volatility, depth = outcomes[:, 0].ravel(), outcomes[:, 1].ravel()
    return {
        "calm_volatility_max": float(np.quantile(volatility, CALM_QUANTILE)),
        "calm_drawdown_max": float(np.quantile(depth, CALM_QUANTILE)),
        "stress_volatility_min": float(np.quantile(volatility, STRESS_QUANTILE)),
        "stress_drawdown_min": float(np.quantile(depth, STRESS_QUANTILE)),
    }


def label(outcomes, rule):
    """Class numbers [D,4]: stress if either is extreme, calm if both are low, else choppy."""
    volatility, depth = outcomes[:, 0], outcomes[:, 1]
    stress = (volatility > rule["stress_volatility_min"]) | (depth > rule["stress_drawdown_min"])
    calm = (volatility <= rule["calm_volatility_max"]) & (depth <= rule["calm_drawdown_max"])
    return np.where(stress, 2, np.where(calm, 0, 1))


# ---- choosing and fitting -----------------------------------------------------------------------


def candidates():
    """Name → a fresh pipeline."""
    made = {}
    for c in (0.001, 0.01, 0.1, 1.0, 10.0):
        made[f"logistic regression, C={c:g}"] = lambda c=c: LogisticRegression(C=c, max_iter=1000)
    for trees in (20, 50):
        made[f"gradient boosting, {trees} trees of depth 2"] = (
            lambda trees=trees: GradientBoostingClassifier(
                n_estimators=trees, max_depth=2, learning_rate=0.05, subsample=0.5, random_state=0
            )
        )
    return {
        name: (lambda model=model: Pipeline([("scale", StandardScaler()), ("classify", model())]))
        for name, model in made.items()
    }


def names_of(y):
    return np.array(CLASSES)[y.ravel()]


def rows_of(x):
    return x.reshape(-1, len(FEATURES))


def log_loss(y, p):
    """Mean negative log probability of what happened; no forecast compared here says 0."""
    return float(-np.log(p[np.arange(len(y)), y]).mean())


def cross_validate(x, y):
    """Mean log loss of each candidate over expanding windows, purged like the real split."""
    fold = len(x) // (FOLDS + 1)
    scores = {}
    for name, make in candidates().items():
        losses = []
        for k in range(1, FOLDS + 1):
            seen, held = slice(0, k * fold - HORIZON), slice(k * fold, (k + 1) * fold)
            model = make().fit(rows_of(x[seen]), names_of(y[seen]))
            assert list(model.classes_) == CLASSES
            losses.append(log_loss(y[held].ravel(), model.predict_proba(rows_of(x[held]))))
        scores[name] = float(np.mean(losses))
    return scores


# ---- measuring ----------------------------------------------------------------------------------


def recalls(y, guess):
    return [
        float((guess[y == k] == k).mean()) if (y == k).any() else None for k in range(len(CLASSES))
    ]


def measure(y, p, guess=None):
    """Scores of a forecast p [N,3]; `guess` where the named class is not the most probable one."""
    guess = p.argmax(axis=1) if guess is None else guess
    hit = np.eye(len(CLASSES))[y]
    per_class = recalls(y, guess)
    return {
        "accuracy": float((guess == y).mean()),
        "balanced_accuracy": float(np.mean([r for r in per_class if r is not None])),
        "log_loss": log_loss(y, p),
        "brier": float(((p - hit) ** 2).sum(axis=1).mean()),
        "recall": dict(zip(CLASSES, per_class)),
        "named": dict(zip(CLASSES, (np.bincount(guess, minlength=3) / len(y)).tolist())),
    }


def persistence(trailing_train, y_train, trailing_test):
    """The last 20 days' regime goes on, as likely as it did in training: (p, class)."""
    table = np.ones((3, 3))  # one imaginary case each, so that no probability is 0
    np.add.at(table, (trailing_train.ravel(), y_train.ravel()), 1)
    table /= table.sum(axis=1, keepdims=True)
    return table[trailing_test.ravel()], trailing_test.ravel()


def calibration(y, p):
    """Reliability of the confidence (the named class's probability) and of each class's mean."""
    confidence, correct = p.max(axis=1), p.argmax(axis=1) == y
    bins, error = [], 0.0
    tenth = np.minimum((confidence * 10).astype(int), 9)
    for k in np.unique(tenth):
        inside = tenth == k
        said, came = float(confidence[inside].mean()), float(correct[inside].mean())
        bins.append(
            {"from": int(k) / 10, "rows": int(inside.sum()), "said": said, "came_true": came}
        )
        error += float(inside.mean()) * abs(said - came)
    classes = {
        name: {"mean_probability": float(p[:, k].mean()), "frequency": float((y == k).mean())}
        for k, name in enumerate(CLASSES)
    }
    sure = confidence >= MIN_CONFIDENCE
    return {
        "expected_calibration_error": error,
        "bins": bins,
        "classes": classes,
        "at_min_confidence": {
            "min_confidence": MIN_CONFIDENCE,
            "share_of_rows": float(sure.mean()),
            "accuracy": float(correct[sure].mean()) if sure.any() else None,
        },
    }


def bootstrap(days, per_row_difference):
    """95 % interval of a mean difference over blocks of days, as neighbouring rows depend."""
    by_day = per_row_difference.reshape(days, len(INDICES)).mean(axis=1)
    random = np.random.RandomState(0)
    blocks = -(-days // BOOTSTRAP_BLOCK)
    means = np.empty(BOOTSTRAP_RUNS)
    for run in range(BOOTSTRAP_RUNS):
        starts = random.randint(0, days, blocks)
        picked = (starts[:, None] + np.arange(BOOTSTRAP_BLOCK)).ravel()[:days] % days
        means[run] = by_day[picked].mean()
    low, high = np.quantile(means, [0.025, 0.975])
    return {"mean": float(by_day.mean()), "low": float(low), "high": float(high)}


def differences(y, days, p, other, other_guess):
    """Model minus another forecast; above 0 is better for accuracy, below 0 for log loss."""
    rows = np.arange(len(y))
    return {
        "accuracy": bootstrap(days, (p.argmax(axis=1) == y).astype(float) - (other_guess == y)),
        "log_loss": bootstrap(days, np.log(other[rows, y]) - np.log(p[rows, y])),
    }


# ---- ONNX ---------------------------------------------------------------------------------------


def onnx_model(pipeline, baseline):
    """Scaler and multinomial logistic regression folded into one LinearClassifier."""
    scale, classify = pipeline.named_steps["scale"], pipeline.named_steps["classify"]
    coefficients = classify.coef_ / scale.scale_
    intercepts = classify.intercept_ - coefficients @ scale.mean_
    node = helper.make_node(
        "LinearClassifier",
        ["input"],
        ["label", "probabilities"],
        name="regime",
        domain="ai.onnx.ml",
        coefficients=coefficients.astype(np.float32).ravel().tolist(),
        intercepts=intercepts.astype(np.float32).tolist(),
        classlabels_strings=CLASSES,
        multi_class=1,
        post_transform="SOFTMAX",
    )
    graph = helper.make_graph(
        [node],
        "regime",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", len(FEATURES)])],
        [
            helper.make_tensor_value_info("label", TensorProto.STRING, ["N"]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", len(CLASSES)]),
        ],
    )
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("ai.onnx.ml", 1)]
    model = helper.make_model(
        graph, opset_imports=opsets, ir_version=8, producer_name="pacer-example-coach"
    )
    model.doc_string = "Regime of a stock index over the next 20 trading days."
    model_metadata = {
        "pacer.features": json.dumps(FEATURES),
        "pacer.classes": json.dumps(CLASSES),
        "pacer.baseline": json.dumps(baseline),
        "pacer.source": json.dumps(versions()),
    }
    helper.set_model_props(model, model_metadata)
    onnx.checker.check_model(model)
    return model


def versions():
    return {"scikit-learn": sklearn.__version__, "numpy": np.__version__, "onnx": onnx.__version__}


def evaluate_onnx(path, x):
    """What the file at `path` answers for x, in float32 from the attributes read back."""
    model = onnx.load(str(path))
    (node,) = model.graph.node
    attribute = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    labels = [s.decode() for s in attribute["classlabels_strings"]]
    weights = np.array(attribute["coefficients"], np.float32).reshape(len(labels), -1)
    scores = x.astype(np.float32) @ weights.T + np.array(attribute["intercepts"], np.float32)
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.array(labels)[scores.argmax(axis=1)], odds / odds.sum(axis=1, keepdims=True)


def check_onnx(path, pipeline, x):
    """Largest disagreement of probabilities over x; stops the script where it matters."""
    labels, probabilities = evaluate_onnx(path, x)
    expected = pipeline.predict_proba(x)
    worst = float(np.abs(probabilities - expected).max())
    if worst > 1e-5 or (labels != pipeline.predict(x)).any():
        raise SystemExit(
            f"{path}: differs from the fitted pipeline (by up to {worst:g}); nothing was reported"
        )
    return worst


# ---- report -------------------------------------------------------------------------------------


def rounded(value):
    """Six digits everywhere: enough to compare, few enough to read."""
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def examples(pipeline, x, y, years):
    """Per class one real row of the test period: of those that came true, the surest."""
    flat, truth, picked = rows_of(x), y.ravel(), {}
    p = pipeline.predict_proba(flat)
    for k, name in enumerate(CLASSES):
        row = int(np.where(truth == k, p[:, k], -1).argmax())
        values = rounded(dict(zip(FEATURES, flat[row].tolist())))
        again = pipeline.predict_proba(np.array([list(values.values())]))[0]
        picked[name] = {
            "index": INDICES[row % len(INDICES)],
            "year": float(years[row // len(INDICES)]),
            "features": values,
            "probabilities": dict(zip(CLASSES, again.tolist())),
        }
    return picked


def part(years, y):
    shares = np.bincount(y.ravel(), minlength=3) / y.size
    return {
        "from_year": float(years[0]),
        "to_year": float(years[-1]),
        "days": len(y),
        "rows": int(y.size),
        "class_shares": dict(zip(CLASSES, shares.tolist())),
    }


def table(report):
    """The numbers of the README, as Markdown."""
    lines = [
        "| forecast | accuracy | balanced accuracy | log loss | Brier |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, s in report["test_scores"].items():
        scores = " | ".join(
            f"{s[k]:.3f}" for k in ("accuracy", "balanced_accuracy", "log_loss", "brier")
        )
        lines.append(f"| {name} | {scores} |")
    lines += ["", "| the model minus … (95 % interval) | accuracy | log loss |", "|---|---:|---:|"]
    for name, d in report["model_minus"].items():
        cells = " | ".join(
            "{mean:+.3f} ({low:+.3f} … {high:+.3f})".format(**d[k])
            for k in ("accuracy", "log_loss")
        )
        lines.append(f"| {name} | {cells} |")
    lines += ["", "| confidence | rows | said | came true |", "|---|---:|---:|---:|"]
    for b in report["calibration"]["bins"]:
        lines.append(
            f"| {b['from']:.1f}–{b['from'] + 0.1:.1f} | {b['rows']} "
            f"| {b['said']:.3f} | {b['came_true']:.3f} |"
        )
    lines += [
        "",
        "| regime | training share | test share | mean probability in test | recall in test |",
    ]
    lines += ["|---|---:|---:|---:|---:|"]
    for name in CLASSES:
        c, train = report["calibration"]["classes"][name], report["train"]["class_shares"][name]
        recall = report["test_scores"]["model"]["recall"][name]
        lines.append(
            f"| {name} | {train:.3f} | {c['frequency']:.3f} "
            f"| {c['mean_probability']:.3f} | {recall:.3f} |"
        )
    return "\n".join(lines)


def put_table(text):
    """Replaces what stands between the two markers of the README."""
    path, begin, end = HERE / "README.md", "<!-- fit.py: begin -->", "<!-- fit.py: end -->"
    head, rest = path.read_text().split(begin)
    tail = rest.split(end)[1]
    path.write_text(f"{head}{begin}\n{text}\n{end}{tail}")


def choose(x, y):
    """(scores of all candidates, name of the best, that one fitted on the training days)."""
    scores = cross_validate(x, y)
    name = min(scores, key=scores.get)
    pipeline = candidates()[name]().fit(rows_of(x), names_of(y))
    if not isinstance(pipeline.named_steps["classify"], LogisticRegression):
        raise SystemExit(f"cross-validation chose {name}, which onnx_model() cannot write")
    return scores, name, pipeline


def write(pipeline, baseline, report, x):
    """The pickle, the ONNX file (checked on every row x), the report and the README's table."""
    target = HERE / "models" / "regime.onnx"
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(onnx_model(pipeline, baseline).SerializeToString(deterministic=True))
    report["onnx_largest_difference"] = check_onnx(target, pipeline, x)
    # As a data frame would have left it: who reads the pickle finds the order of the columns.
    pipeline.named_steps["scale"].feature_names_in_ = np.array(FEATURES, dtype=object)
    pickled = HERE / "model" / "regime.pkl"
    pickled.parent.mkdir(exist_ok=True)
    pickled.write_bytes(pickle.dumps(pipeline, protocol=4))
    (HERE / "report.json").write_text(json.dumps(rounded(report), indent=2) + "\n")
    put_table(table(report))


def main():
    year, closes, returns = load()
    days = np.arange(FIRST_DAY, len(closes) - HORIZON)
    x = np.stack([features_of(d, closes, returns) for d in days])
    after = np.stack([outcome_after(d, closes, returns) for d in days])
    before = np.stack([outcome_after(d - HORIZON, closes, returns) for d in days])

    split = int(TRAIN_SHARE * len(days))
    train, test = slice(0, split - HORIZON), slice(split, None)
    rule = thresholds_of(after[train])
    y, trailing = label(after, rule), label(before, rule)
    cv_scores, chosen, pipeline = choose(x[train], y[train])

    truth, test_days = y[test].ravel(), len(y[test])
    p = pipeline.predict_proba(rows_of(x[test]))
    shares = np.bincount(y[train].ravel(), minlength=3) / y[train].size
    majority = np.tile(shares, (len(truth), 1))
    staying, staying_guess = persistence(trailing[train], y[train], trailing[test])
    baseline = rounded(dict(zip(FEATURES, np.median(rows_of(x[train]), axis=0).tolist())))
    report = {
        "data": {
            "rows": int(y.size),
            "days": len(days),
            "indices": INDICES,
            "horizon_days": HORIZON,
        },
        "rule": rule,
        "train": part(year[days[train]], y[train]),
        "test": part(year[days[test]], y[test]),
        "cross_validation_log_loss": cv_scores,
        "chosen": chosen,
        "test_scores": {
            "model": measure(truth, p),
            "majority of the training period": measure(truth, majority),
            "persistence (the last 20 days' regime)": measure(truth, staying, staying_guess),
        },
        "model_minus": {
            "majority": differences(truth, test_days, p, majority, majority.argmax(axis=1)),
            "persistence": differences(truth, test_days, p, staying, staying_guess),
        },
        "per_index_accuracy": {
            name: float((p.argmax(axis=1) == truth)[k :: len(INDICES)].mean())
            for k, name in enumerate(INDICES)
        },
        "calibration": calibration(truth, p),
        "training_scores": measure(y[train].ravel(), pipeline.predict_proba(rows_of(x[train]))),
        "baseline": baseline,
        "examples": examples(pipeline, x[test], y[test], year[days[test]]),
        "versions": versions(),
    }
    write(pipeline, baseline, report, rows_of(x))
    print(f"chosen: {chosen}\n\n{table(report)}\n\nThree rows to try are in report.json.")


if __name__ == "__main__":
    main()
