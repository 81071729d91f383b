"""A tenth of the attack on files; `python tests/attack/corruption.py` runs the whole."""

from corruption import KINDS, attack, table

COUNT = 50


def test_no_damage_of_a_file_that_an_evaluation_writes_moves_a_number(tmp_path, monkeypatch):
    monkeypatch.setenv("OVSS_CACHE", str(tmp_path / "cache"))
    outcomes = attack(tmp_path, COUNT, seed=1)
    print(table(outcomes))
    assert {kind for kind, _ in outcomes} == set(KINDS)
    assert outcomes.total() >= 0.9 * COUNT
