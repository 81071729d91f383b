"""The same evaluation on real worker processes, one of which is killed on the way."""

import importlib
import os
import signal
import sys
import threading
import time
from dataclasses import replace

import distributed
import pytest
from evaluation_helpers import METHODS, contents, quick_protocol

import ovss
from ovss.backbone import Backbone
from ovss.errors import InputError
from ovss.evaluation import cluster as cluster_module
from ovss.evaluation.cluster import ModelSource
from ovss.methods import registry

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workers():
    """A scheduler with two worker processes, which are started again when they die."""
    options = {"dashboard_address": None, "memory_limit": 0}
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, **options) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def run(backbone, data, **options):
    settings = {"protocol": quick_protocol(), "shard_size": 1} | options
    return ovss.evaluate(backbone, METHODS, data, **settings)


def test_a_worker_killed_on_the_way_leaves_the_table_as_it_is(backbone, data, workers, tmp_path):
    address = workers.scheduler.address
    pids = workers.run(os.getpid)
    out, finished_at_kill = tmp_path / "cluster", []

    def kill_one():
        while len(list(out.rglob("*.npz"))) < 2:
            time.sleep(0.01)
        finished_at_kill.append(len(list(out.rglob("*.npz"))))
        os.kill(next(iter(pids.values())), signal.SIGKILL)

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    found = run(backbone, data, cluster=address, out=out)
    killer.join(timeout=60)
    assert finished_at_kill
    assert finished_at_kill[0] < 10, "the run was over before the worker was killed"
    expected = run(backbone, data, out=tmp_path / "here")
    assert found.facts == expected.facts
    assert contents(out) == contents(tmp_path / "here")


OWN = """
from dataclasses import dataclass
import ovss
from ovss.ingredients import attend

@ovss.register
@dataclass(frozen=True)
class Mine(ovss.Method):
    name = "mine_on_a_cluster"
    paper = ovss.Paper(title="T", authors="", venue="here", arxiv="")
    in_all = False
    pairs: str = "vv"

    def mix(self, tokens, values=None):
        return attend(tokens.qkv(tokens.depth), self.pairs, values=values)
"""


def test_a_method_of_a_file_that_workers_lack_travels_with_the_run(backbone, data, workers, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    (tmp_path / "own.py").write_text(OWN)
    [name] = ovss.load_plugin(tmp_path / "own.py")
    settings = {"protocol": quick_protocol(), "limit": 2}
    found = ovss.evaluate(backbone, [name], data, cluster=workers.scheduler.address, **settings)
    here = ovss.evaluate(backbone, [name], data, **settings)
    assert (found.counts(name) == here.counts(name)).all()


def test_an_unreadable_image_is_named_by_the_caller(backbone, data, folder, workers, tmp_path):
    bad = folder / "images" / "p04.jpg"
    fingerprint = data.fingerprint
    bad.write_bytes(b"no picture")
    with pytest.raises(InputError, match=str(bad)):
        run(backbone, data, cluster=workers.scheduler.address, out=tmp_path / "run")
    skipping = run(backbone, data, cluster=workers.scheduler.address, skip_bad=True, out=tmp_path / "run")
    assert list(skipping.skipped) == ["p04"]
    assert skipping.facts["dataset_fingerprint"] == fingerprint


def test_what_is_finished_needs_no_cluster(backbone, data, tmp_path):
    run(backbone, data, out=tmp_path)
    again = run(backbone, data, out=tmp_path, cluster="tcp://127.0.0.1:1")
    assert len(again.ids) == 10


@pytest.mark.parametrize("where", ["local:", "local:none", "local:0", "here", "4"])
def test_a_misspelt_cluster_is_refused(backbone, data, where):
    with pytest.raises(InputError, match=r"local:4|local:N"):
        run(backbone, data, cluster=where)


def test_a_scheduler_that_is_not_there_is_reported(backbone, data, monkeypatch):
    monkeypatch.setattr(cluster_module, "CONNECT_SECONDS", 1)
    with pytest.raises(InputError, match=r"no Dask scheduler answers at 'tcp://127\.0\.0\.1:1'"):
        run(backbone, data, cluster="tcp://127.0.0.1:1")


def test_a_worker_with_other_weights_is_refused(backbone):
    source = ModelSource.of(backbone)
    assert source.load()[0].weights_hash == backbone.weights_hash
    with pytest.raises(InputError, match="a worker finds other weights"):
        replace(source, weights_hash="0" * 64).load()


def test_a_model_that_nobody_else_can_load_is_refused(backbone, data):
    made = Backbone(
        backbone.model,
        name="tiny",
        pretrained="mine",
        tokenizer=backbone.tokenizer,
        mean=backbone.mean,
        std=backbone.std,
    )
    with pytest.raises(InputError, match="must come from load_backbone"):
        run(made, data, cluster="local:2")


def test_checkpoint_files_travel_as_absolute_paths(backbone, checkpoint, monkeypatch):
    monkeypatch.chdir(checkpoint.parent)
    monkeypatch.setattr(backbone, "origin", {"model": "tiny", "pretrained": checkpoint.name})
    assert ModelSource.of(backbone).arguments["pretrained"] == str(checkpoint)


def test_scores_are_not_kept_on_a_cluster(backbone, data, tmp_path):
    with pytest.raises(InputError, match="on one machine only"):
        run(backbone, data, cluster="local:2", out=tmp_path, keep_scores="float32")


def test_without_dask_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "ovss.evaluation.cluster")
    with pytest.raises(InputError, match=r"pip install 'ovss\[cluster\]'"):
        importlib.import_module("ovss.evaluation.cluster")
    monkeypatch.undo()
    sys.modules["ovss.evaluation.cluster"] = cluster_module


def test_workers_may_come_late_and_leave_early(backbone, data, tmp_path, monkeypatch, capfd):
    """As in a queue: nobody there at first, the first worker's time is up after one record, the next comes later."""
    monkeypatch.setattr(cluster_module, "_NOTE_SECONDS", 1)
    options = {"dashboard_address": "127.0.0.1:0", "memory_limit": 0}
    out = tmp_path / "queue"
    with distributed.LocalCluster(n_workers=0, threads_per_worker=1, processes=True, **options) as cluster:

        def queue():
            time.sleep(2.5)
            cluster.scale(1)
            while not list(out.rglob("*.npz")):
                time.sleep(0.01)
            cluster.scale(0)
            time.sleep(4)
            cluster.scale(1)

        threading.Thread(target=queue, daemon=True).start()
        found = run(backbone, data, cluster=cluster.scheduler_address, out=out, progress=True)
    assert found.facts == run(backbone, data, out=tmp_path / "here").facts
    assert contents(out) == contents(tmp_path / "here")
    assert "waiting for a worker to join the scheduler at tcp://127.0.0.1" in capfd.readouterr().err


def test_a_queue_that_starts_no_worker_is_named_when_time_is_up(backbone, data):
    with (
        distributed.LocalCluster(n_workers=0, processes=True, dashboard_address="127.0.0.1:0") as cluster,
        pytest.raises(
            InputError, match=r"no worker joined the Dask scheduler at 'tcp://.*' within 1 s.*worker-timeout"
        ),
    ):
        run(backbone, data, cluster=cluster.scheduler_address, worker_timeout=1)
