"""The gallery: its page shows every plot, with the commands that make it; one that fails is named."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.plots import PLOTS, gallery

PAGE = Path(__file__).parents[3] / "docs" / "gallery"
TINY = {
    "one": "python -m simulator --policy greedy --table synthetic --trace constant:rate=1000,duration=0.05 --out one",
    "loads": "python -m analysis sweep --policy greedy --table synthetic --trace constant:duration=0.01 "
    "--load 0.2,0.5,0.9 --jobs 1 --out loads",
}
PICTURES = (gallery.Picture("batch-sizes", "one", "Small."), gallery.Picture("attainment-load", "loads", "High."))


def test_every_plot_is_in_the_gallery_and_its_inputs_are_made():
    # Of the first two others are special cases; of studies, in docs; no shipped table has adapters.
    elsewhere = {"map", "students", "adapters", "hits-budget", "overlap-budget", "working-set", "loads"}
    assert {picture.plot for picture in gallery.PICTURES} == set(PLOTS) - elsewhere
    for name, command in gallery.INPUTS.items():
        words = shlex.split(command)
        assert words[words.index("--out") + 1] == name
    assert {name for picture in gallery.PICTURES for name in picture.of.split()} <= set(gallery.INPUTS)


def test_the_page_in_docs_shows_them_all_and_is_small():
    text = (PAGE / "README.md").read_text(encoding="utf-8")
    for picture in gallery.PICTURES:
        assert f"![{picture.plot}]({picture.plot}.png)" in text
        assert gallery.INPUTS[picture.of.split()[0]] in text
        assert (PAGE / f"{picture.plot}.png").exists()
    assert sum(path.stat().st_size for path in PAGE.iterdir()) < 3e6


def test_the_command_makes_the_page_and_takes_what_is_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gallery, "INPUTS", TINY)
    monkeypatch.setattr(gallery, "PICTURES", PICTURES)
    folders = ["--out", str(tmp_path / "out"), "--scratch", str(tmp_path / "scratch")]
    assert main(["gallery", *folders]) == 0
    assert "written to" in capsys.readouterr().err
    made = {"README.md", "batch-sizes.png", "attainment-load.png"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == made
    assert (tmp_path / "scratch" / "attainment-load.csv").exists()
    made = (tmp_path / "scratch" / "one" / "run.json").stat().st_mtime_ns
    before = (tmp_path / "out" / "batch-sizes.png").read_bytes()
    assert main(["gallery", *folders]) == 0
    assert (tmp_path / "scratch" / "one" / "run.json").stat().st_mtime_ns == made
    assert (tmp_path / "out" / "batch-sizes.png").read_bytes() == before
    capsys.readouterr()
    other = {**TINY, "one": TINY["one"].replace("--out", "--seed 1 --out")}
    for name, changed in (("code_digest", lambda: "other code"), ("INPUTS", other)):
        with monkeypatch.context() as patch:
            patch.setattr(gallery, name, changed)
            assert main(["gallery", *folders]) == 2
        assert "other code" in capsys.readouterr().err
        assert (tmp_path / "out" / "batch-sizes.png").read_bytes() == before


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("python -m simulator --policy gready --out x", "--out x: error.*'gready'"),
        ("python -m analysis plot --wrong", "plot --wrong: "),
    ],
)
def test_a_command_that_fails_is_named_with_its_error(tmp_path, command, message):
    with pytest.raises(ValueError, match=message):
        gallery.run(command, tmp_path)
