"""One-line faults that tests must notice, with the tests that do; see `mutants.py`."""

from typing import NamedTuple


class Mutant(NamedTuple):
    """A change to one file.

    Attributes:
        name: What is wrong under it.
        file: Relative to the repository.
        old: Text that occurs once.
        new: What takes its place.
        tests: Those of which one must fail.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


IDENTITY = "ovss/evaluation/identity.py"
RESUME_TEST = "tests/evaluation/test_resume.py"
KEY_TEST = f"{RESUME_TEST}::test_scored_words_libraries_pixel_statistics_arithmetic_and_text_are_part_of_a_runs_key"
START_TEST = f"{RESUME_TEST}::test_changed_data_weights_and_code_start_over"
LABELS, LABELS_TEST = "ovss/segment/labels.py", "tests/segment/test_labels.py"
SCORER = "ovss/segment/scorer.py"
METRICS, METRICS_TEST = "ovss/metrics/__init__.py", "tests/metrics/test_metrics.py"
RECORDS, RECORDS_TEST = "ovss/evaluation/records.py", "tests/evaluation/test_records.py"
EMBEDDING, EMBEDDING_TEST = "ovss/vocabulary/embedding.py", "tests/vocabulary/test_embedding.py"
RELABEL, RELABEL_TEST = "ovss/evaluation/relabel.py", "tests/evaluation/test_relabel.py"
PLAYGROUND, APP_TEST = "ovss/app/playground.py", "tests/app/test_playground.py"
ESCAPE_TEST, WORDS_TEST = f"{APP_TEST}::test_the_name_of_an_image_is_text", f"{APP_TEST}::test_words_are_text"
SERVER = "ovss/app/server.py"
SERVER_TEST = f"{APP_TEST}::test_the_server_answers_this_machine_alone_and_keeps_its_token_to_itself"
PLAN, PLAN_TEST = "ovss/study/plan.py", "tests/study/test_study.py"
SIGNIFICANCE, SIGNIFICANCE_TEST = "ovss/metrics/significance.py", "tests/metrics/test_significance.py"
INTERVALS, INTERVALS_TEST = "ovss/metrics/intervals.py", "tests/metrics/test_intervals.py"
WINDOWS, WINDOWS_TEST = "ovss/segment/windows.py", "tests/segment/test_windows.py"
PIPELINE, EVALUATION_TEST = "ovss/evaluation/pipeline.py", "tests/evaluation/test_evaluation.py"
PAMR, PAMR_TEST = "ovss/ingredients/pamr.py", "tests/segment/test_pamr.py"
ATTENTION = "ovss/ingredients/attention.py"
BASE = "ovss/methods/base.py"
FORMULAS = "tests/methods/test_methods_formulas.py"
CHECKPOINTS, CHECKPOINTS_TEST = "ovss/backbone/checkpoints.py", "tests/backbone/test_checkpoints.py"

QUICK = {FORMULAS, LABELS_TEST, METRICS_TEST, SIGNIFICANCE_TEST, PAMR_TEST}
"""Tests that take about a second."""

MUTANTS = (
    # What a run is known by
    Mutant(
        "key without the judged words",
        IDENTITY,
        '"vocabulary": job.vocabulary.hash,\n        "protocol"',
        '"protocol"',
        (f"{RESUME_TEST}::test_runs_that_score_the_same_words_but_judge_by_others_have_different_keys",),
    ),
    Mutant("key without libraries", IDENTITY, '        "libraries": library_versions(),\n', "", (KEY_TEST,)),
    Mutant(
        "key without the mean",
        IDENTITY,
        'backbone.weights_hash, backbone.mean, backbone.std],\n        "scored"',
        'backbone.weights_hash, backbone.std],\n        "scored"',
        (KEY_TEST,),
    ),
    Mutant(
        "key without the standard deviation",
        IDENTITY,
        'backbone.mean, backbone.std],\n        "scored"',
        'backbone.mean],\n        "scored"',
        (KEY_TEST,),
    ),
    Mutant("key without the number format", IDENTITY, "[device, str(backbone.dtype), job", "[device, job", (KEY_TEST,)),
    Mutant(
        "key without the device",
        IDENTITY,
        "[device, str(backbone.dtype), job",
        "[str(backbone.dtype), job",
        (KEY_TEST,),
    ),
    Mutant("key without text embeddings", IDENTITY, '        "text": text,\n', "", (KEY_TEST,)),
    Mutant(
        "key without the weights' hash",
        IDENTITY,
        "[backbone.name, backbone.weights_hash, backbone.mean",
        "[backbone.name, backbone.mean",
        (START_TEST,),
    ),
    Mutant("key without code", IDENTITY, '        "code": code_hash(*MAKERS),\n', "", (START_TEST,)),
    Mutant(
        "key without the protocol",
        IDENTITY,
        '        "protocol": job.protocol.hash,\n        "dataset"',
        '        "dataset"',
        (f"{RESUME_TEST}::test_a_changed_run_starts_over",),
    ),
    Mutant(
        "key without parameters of methods",
        IDENTITY,
        "[method.name, method.parameters] for",
        "[method.name] for",
        (f"{RESUME_TEST}::test_methods_under_one_label_are_told_apart_by_their_parameters",),
    ),
    Mutant(
        "key without the batch size",
        IDENTITY,
        "job.batch_size, job.shard_size",
        "job.shard_size",
        (f"{RESUME_TEST}::test_a_changed_run_starts_over",),
    ),
    Mutant(
        "text cache without the weights' hash",
        EMBEDDING,
        "backbone.pretrained, backbone.weights_hash, str",
        "backbone.pretrained, str",
        (EMBEDDING_TEST,),
    ),
    Mutant(
        "text cache without the number format",
        EMBEDDING,
        "backbone.weights_hash, str(backbone.dtype), vocabulary",
        "backbone.weights_hash, vocabulary",
        (EMBEDDING_TEST,),
    ),
    Mutant(
        "text cache without templates",
        EMBEDDING,
        "str(backbone.dtype), vocabulary.templates]",
        "str(backbone.dtype)]",
        (EMBEDDING_TEST,),
    ),
    Mutant(
        "text cache takes a renamed entry",
        EMBEDDING,
        "if path.stem.encode() not in content:",
        "if False:",
        (EMBEDDING_TEST,),
    ),
    Mutant(
        "task digest without data",
        PLAN,
        '            "data": _fingerprint(self.dataset) if self.dataset else "",\n',
        "",
        (PLAN_TEST,),
    ),
    Mutant(
        "task digest without weights of a file",
        PLAN,
        "file_digest(pretrained) if pretrained and Path(pretrained).is_file() else pretrained",
        "pretrained",
        (PLAN_TEST,),
    ),
    Mutant(
        "task digest without what it reads from",
        PLAN,
        '            "upstream": {task.id: task.digest for task in self.after},\n',
        "",
        (PLAN_TEST,),
    ),
    # From scores to labels
    Mutant("class prior skipped", SCORER, "if self.protocol.class_prior:", "if False:", (FORMULAS,)),
    Mutant(
        "threshold with equality",
        LABELS,
        "probability < self.rule.threshold",
        "probability <= self.rule.threshold",
        (LABELS_TEST,),
    ),
    Mutant("area rule without equality", LABELS, "(areas <= self.area", "(areas < self.area", (LABELS_TEST,)),
    Mutant(
        "area rule over all pixels",
        LABELS,
        "self.area * areas[foreground].sum()",
        "self.area * areas.sum()",
        (LABELS_TEST,),
    ),
    Mutant(
        "refined argmax with equality", LABELS, "torch.where(top > best,", "torch.where(top >= best,", (LABELS_TEST,)
    ),
    Mutant(
        "denominator of allowed words only",
        LABELS,
        "total = (scores - best",
        "total = (allowed - best",
        (LABELS_TEST,),
    ),
    Mutant(
        "scale of the protocol ignored",
        LABELS,
        "model.logit_scale if protocol.logit_scale is None else protocol.logit_scale",
        "model.logit_scale",
        (LABELS_TEST,),
    ),
    Mutant(
        "a window's cover not divided by",
        WINDOWS,
        "placed.flatten(1) / cover.unsqueeze(1)",
        "placed.flatten(1)",
        (WINDOWS_TEST,),
    ),
    Mutant("last window not moved inside", WINDOWS, "min(i * stride, size - window)", "i * stride", (WINDOWS_TEST,)),
    Mutant(
        "rounding of sizes cut", WINDOWS, "int(width * scale + 0.5), int", "int(width * scale), int", (WINDOWS_TEST,)
    ),
    Mutant("PAMR's deviation ten times as strict", PAMR, "1e-8 + 0.1 * (square", "1e-8 + 0.01 * (square", (PAMR_TEST,)),
    Mutant("PAMR's deviation over all samples", PAMR, "(square / (samples - 1))", "(square / samples)", (PAMR_TEST,)),
    Mutant(
        "PAMR's border not repeated",
        PAMR,
        "(rows + dy).clamp(0, height - 1)[:, None]",
        "((rows + dy) % height)[:, None]",
        (PAMR_TEST,),
    ),
    # Methods
    Mutant(
        "logits without 1 / sqrt d", ATTENTION, "scale = factor * q.shape[-1] ** -0.5", "scale = factor", (FORMULAS,)
    ),
    Mutant(
        "NACLIP's Gaussian twice as narrow",
        ATTENTION,
        "torch.exp(-((at[:, None] - at[None, :]) ** 2) / (2 * sigma**2))",
        "torch.exp(-((at[:, None] - at[None, :]) ** 2) / sigma**2)",
        (FORMULAS,),
    ),
    Mutant(
        "NACLIP compares queries",
        "ovss/methods/naclip.py",
        '        "kk",\n        "which projections',
        '        "qq",\n        "which projections',
        (FORMULAS,),
    ),
    Mutant("SCLIP without keys", "ovss/methods/sclip.py", ' + attend_last(tokens, "kk", values)', "", (FORMULAS,)),
    Mutant(
        "ClearCLIP with its residual",
        "ovss/methods/clearclip.py",
        "residual: bool = parameter(False",
        "residual: bool = parameter(True",
        (FORMULAS,),
    ),
    Mutant(
        "MaskCLIP with its FFN",
        "ovss/methods/maskclip.py",
        "ffn: bool = parameter(False",
        "ffn: bool = parameter(True",
        (FORMULAS,),
    ),
    Mutant(
        "FFN instead of FFN and residual",
        BASE,
        "return y + block.ffn(y) if ffn else y",
        "return block.ffn(y) if ffn else y",
        (FORMULAS,),
    ),
    Mutant(
        "patch embeddings not normalised",
        BASE,
        "return F.normalize(x.float(), dim=-1)",
        "return x.float()",
        (FORMULAS,),
    ),
    # Counts and measures
    Mutant(
        "cliptrase rule ignored by the counts",
        PIPELINE,
        'job.vocabulary.background if job.protocol.metric == "cliptrase" else None',
        "None",
        (EVALUATION_TEST,),
    ),
    Mutant(
        "cliptrase rule ignored by the measures",
        METRICS,
        'counted = truth > 0 if rule == "cliptrase" else union > 0',
        "counted = union > 0",
        (METRICS_TEST,),
    ),
    Mutant(
        "cliptrase margin left out",
        METRICS,
        '_CLIPTRASE_MARGIN if rule == "cliptrase" else 0.0',
        "0.0",
        (METRICS_TEST,),
    ),
    Mutant(
        "cliptrase mean accuracy over present classes",
        METRICS,
        '(truth > 0).sum(-1) if rule == "standard" else np.where(pixels > 0, truth.shape[-1], 0)',
        "(truth > 0).sum(-1)",
        (METRICS_TEST,),
    ),
    Mutant("cliptrase void image counted", METRICS, "if (truth == void_class).all():", "if False:", (METRICS_TEST,)),
    Mutant(
        "void pixels of the prediction counted",
        METRICS,
        "truth, guess = truth[valid], guess[valid]",
        "truth = np.where(valid, truth, guess)",
        (METRICS_TEST,),
    ),
    Mutant(
        "union without the intersection taken off",
        METRICS,
        "union = truth + prediction - intersection",
        "union = truth + prediction",
        (METRICS_TEST,),
    ),
    Mutant(
        "fwIoU weighted by the prediction",
        METRICS,
        "(np.nan_to_num(iou) * truth)",
        "(np.nan_to_num(iou) * prediction)",
        (METRICS_TEST,),
    ),
    Mutant(
        "p-value of a class without its + 1",
        SIGNIFICANCE,
        "reached / (1 + drawn)",
        "(reached - 1) / drawn",
        (SIGNIFICANCE_TEST,),
    ),
    Mutant(
        "p-value of the mean without its + 1",
        SIGNIFICANCE,
        "return p_values, mean_reached / (1 + start_with)",
        "return p_values, (mean_reached - 1) / start_with",
        (SIGNIFICANCE_TEST,),
    ),
    Mutant(
        "Holm without its maximum",
        SIGNIFICANCE,
        "np.maximum.accumulate(factors * p_values[order])",
        "factors * p_values[order]",
        (SIGNIFICANCE_TEST,),
    ),
    Mutant(
        "jackknife bias without n - 1", INTERVALS, "bias = (n - 1) * (numbers", "bias = (numbers", (INTERVALS_TEST,)
    ),
    Mutant("interval of 80 %", INTERVALS, "_LEVEL = 95.0", "_LEVEL = 80.0", (INTERVALS_TEST,)),
    Mutant(
        "paired samples drawn apart",
        INTERVALS,
        "resampler.replicates(a, rule), resampler.replicates(b, rule), level)",
        "resampler.replicates(a, rule), Resampler(len(a), resamples, seed + 1).replicates(b, rule), level)",
        (INTERVALS_TEST,),
    ),
    # Files
    Mutant("record of another run used", RECORDS, 'if note["key"] != key:', "if False:", (RECORDS_TEST,)),
    Mutant("record of another shard used", RECORDS, 'if note["shard"] != list(shard):', "if False:", (RECORDS_TEST,)),
    Mutant("record of other images used", RECORDS, "if self.ids is not None:\n", "if False:\n", (RECORDS_TEST,)),
    Mutant(
        "record without its checksum",
        RECORDS,
        "        check_seal(content)\n        with np.load",
        "        with np.load",
        (RECORDS_TEST,),
    ),
    Mutant("scores of another image relabelled", RELABEL, "if sample.id != scores.id:", "if False:", (RELABEL_TEST,)),
    Mutant(
        "scores of another data set relabelled",
        RELABEL,
        'if dataset.fingerprint != origin.facts["dataset_fingerprint"]:',
        "if False:",
        (RELABEL_TEST,),
    ),
    Mutant(
        "scores without their checksum",
        "ovss/evaluation/scores.py",
        "        check_seal(content)\n",
        "",
        (RELABEL_TEST,),
    ),
    Mutant(
        "scores of another place used",
        "ovss/evaluation/scores.py",
        'if note["place"] != _place(path):',
        "if False:",
        (RELABEL_TEST,),
    ),
    Mutant(
        "a folder used by two runs",
        "ovss/files/__init__.py",
        "        lock.acquire()\n",
        "        pass\n",
        (f"{RESUME_TEST}::test_a_second_run_in_a_folder_is_refused_until_the_first_is_gone_however_it_ends",),
    ),
    # Safety
    Mutant(
        "pickles are run",
        CHECKPOINTS,
        'torch.load(file, map_location="cpu", weights_only=True)',
        'torch.load(file, map_location="cpu", weights_only=False)',
        (CHECKPOINTS_TEST,),
    ),
    Mutant(
        "pickles in an archive are run",
        "ovss/backbone/torchscript.py",
        "weights_only=True",
        "weights_only=False",
        (CHECKPOINTS_TEST,),
    ),
    Mutant(
        "application on every address", SERVER, "= HOST, port, 0, False", '= "0.0.0.0", port, 0, False', (SERVER_TEST,)
    ),
    Mutant(
        "application under any name",
        SERVER,
        '"allow_remote_access": False',
        '"allow_remote_access": True',
        (SERVER_TEST,),
    ),
    Mutant("token left in the address", SERVER, "self.redirect(self.request.path)", "pass", (SERVER_TEST,)),
    Mutant(
        "image name unescaped in its caption",
        PLAYGROUND,
        "<b>{escape(name)}</b></figcaption>",
        "<b>{name}</b></figcaption>",
        (ESCAPE_TEST,),
    ),
    Mutant(
        "class name unescaped in the legend",
        PLAYGROUND,
        'f"{escape(name)} {share:.0%}</li>"',
        'f"{name} {share:.0%}</li>"',
        (WORDS_TEST,),
    ),
    Mutant("status unescaped", PLAYGROUND, '"polite">{escape(text)}</p>', '"polite">{text}</p>', (ESCAPE_TEST,)),
)
