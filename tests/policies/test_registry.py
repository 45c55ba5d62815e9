"""From the text of a policy to the object and back."""

from __future__ import annotations

import sys

import pytest

from policies import POLICIES, describe, make
from policies.around.admission import Admission
from policies.batching.timeout import Timeout
from policies.batching.triton import Triton
from policies.pruning.adaptive.policy import Adaptive


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module of policies that lies outside the repository, importable under the name given."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        sys.modules.pop(name, None)

    return write


OUTSIDE = """
from dataclasses import dataclass, field
from policies import Dispatch, Policy
@dataclass
class Mine:
    limit: int = 4
    label: str = "x:y"
    share: float = 0.5
    sizes: tuple[int, ...] = ()
    def decide(self, view): return Dispatch(view.oldest(self.limit), view.levels[-1])
@dataclass
class Around:
    inner: Policy
    strict: bool = False
    def decide(self, view): return self.inner.decide(view)
@dataclass(frozen=True)
class Frozen:
    limit: int
    twice: int = field(init=False, default=0)
    def __post_init__(self):
        if self.limit < 1: raise ValueError("limit must be 1 or more")
        object.__setattr__(self, "twice", 2 * self.limit)
    def decide(self, view): return Dispatch(view.oldest(self.limit), view.levels[-1])
@dataclass
class Last:
    strict: bool = False
    inner: Policy = field(kw_only=True)
    def decide(self, view): return self.inner.decide(view)
"""


@pytest.mark.parametrize(
    ("spec", "policy"),
    [
        ("greedy", POLICIES["greedy"]()),
        (" timeout( max_batch = 8 , timeout_s=1 ) ", Timeout(8, 1.0)),
        ("triton(preferred=(4, 8), delay_s=1e-3)", Triton((4, 8), 0.001)),
        ("admission(adaptive(window=4.0), max_waiting=100)", Admission(Adaptive(window=4.0), 100)),
        ("admission(admission(timeout), hopeless=False)", Admission(Admission(Timeout()), hopeless=False)),
    ],
)
def test_a_spec_makes_the_policy_it_describes(spec, policy):
    assert make(spec) == policy
    assert make(describe(policy)) == policy


def test_parameters_at_their_defaults_are_left_out_of_the_description():
    assert describe(Timeout(16, 0.002)) == "timeout"
    assert describe(Admission(Timeout(8), hopeless=False)) == "admission(timeout(max_batch=8), hopeless=False)"


def test_a_parameter_goes_to_the_one_policy_of_the_spec_that_has_it():
    assert make("admission(timeout)", {"timeout_s": "1", "max_waiting": "9"}) == Admission(Timeout(timeout_s=1.0), 9)
    assert make("triton", {"preferred": "4,8"}) == make("triton", {"preferred": "[4, 8]"}) == Triton((4, 8))
    assert make("triton", {"preferred": "4"}) == Triton((4,))
    assert make("greedy", {"max_batch": "none"}) == make("greedy")


def test_an_outside_policy_is_named_by_module_and_class(module):
    module("outside", OUTSIDE)
    mine = make("outside:Mine(limit=2, label='a:b', sizes=(1, 2))", {"share": "1"})
    assert describe(mine) == "outside:Mine(limit=2, label='a:b', share=1.0, sizes=(1, 2))"
    assert make(describe(mine)) == mine
    wrapped = make("admission(outside:Around(outside:Mine, strict=True))", {"limit": "7", "label": "5"})
    assert describe(wrapped) == "admission(outside:Around(outside:Mine(limit=7, label='5'), strict=True))"
    endless = make("outside:Mine", {"share": "inf"})
    assert make(describe(endless)) == endless


def test_a_policy_is_made_from_its_parameters_not_changed_afterwards(module):
    module("outside", OUTSIDE)
    for policy in (make("outside:Frozen(limit=3)"), make("outside:Frozen", {"limit": "3"})):
        assert (policy.limit, policy.twice) == (3, 6)
        assert make(describe(policy)) == policy
    with pytest.raises(ValueError, match=r"Frozen.*ValueError.*limit"):
        make("outside:Frozen", {"limit": "0"})
    with pytest.raises(ValueError, match=r"Frozen.*TypeError.*limit"):
        make("outside:Frozen")


def test_what_a_policy_wraps_may_be_any_of_its_fields(module):
    module("outside", OUTSIDE)
    wrapper = make("outside:Last(greedy, strict=True)", {"max_batch": "4"})
    assert (wrapper.strict, wrapper.inner) == (True, make("greedy(max_batch=4)"))


@pytest.mark.parametrize(
    ("spec", "parameters", "message"),
    [
        ("gready", {}, "'gready'.*none, greedy, timeout, triton"),
        ("", {}, "cannot be read"),
        ("greedy(", {}, "cannot be read"),
        ("greedy(8)", {}, "cannot be read"),
        ("greedy; none", {}, "cannot be read"),
        ("greedy(size=8)", {}, "'size'.*max_batch"),
        ("none(size=8)", {}, "'size'.*none"),
        ("greedy(max_batch='8')", {}, "max_batch is '8'.*int"),
        ("greedy(max_batch=2.0)", {}, r"max_batch is 2\.0.*int"),
        ("aimd(step=True)", {}, "step is True.*int"),
        ("greedy(max_batch=big)", {}, "max_batch must be"),
        ("greedy(**{})", {}, r"\*\*"),
        ("greedy(none)", {}, "1 in greedy.* 0"),
        ("admission", {}, "0 in admission.* 1"),
        ("admission(greedy, none)", {}, "2 in admission.* 1"),
        ("greedy", {"size": "8"}, "'size'.*max_batch"),
        ("admission(greedy)", {"inner": "3"}, "'inner'.*max_waiting, hopeless, max_batch"),
        ("admission(greedy)", {"hopeless": "maybe"}, "hopeless is 'maybe'.*bool"),
        ("admission(admission(greedy))", {"hopeless": "False"}, "hopeless.*several"),
        ("nowhere_to_be_found:Mine", {}, "module named 'nowhere_to_be_found'"),
        ("json:Mine", {}, "json.*Mine"),
        ("json:loads", {}, "json.*loads"),
        ("json:JSONDecoder", {}, "JSONDecoder.*decide"),
    ],
)
def test_a_bad_spec_is_an_error_that_lists_what_is_valid(spec, parameters, message):
    with pytest.raises((ValueError, LookupError), match=message):
        make(spec, parameters)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(:\n", "SyntaxError"),
        ("from policies import Nothing\n", r"ImportError.*broken.py, line 1\)"),
        ("\nMine = undefined\n", r"NameError.*broken.py, line 2\)"),
        ("class Mine:\n  def __init__(self): 1/0\n", r"ZeroDivisionError.*broken.py, line 2\)"),
        ("exit()\n", r"SystemExit.*broken.py, line 1\)"),
        ("\nraise GeneratorExit\n", r"GeneratorExit.*broken.py, line 2\)"),
        ("class Mine:\n  def __init__(self): exit(0)\n", r"SystemExit.*broken.py, line 2\)"),
        ("class Own(KeyboardInterrupt): pass\nraise Own\n", r"Own.*broken.py, line 2\)"),
    ],
)
def test_a_broken_module_is_an_error_that_names_its_line(module, text, message):
    module("broken", text)
    with pytest.raises(ValueError, match=message):
        make("broken:Mine")


def test_every_entry_is_a_dataclass_whose_first_docstring_line_can_be_listed():
    for name, cls in POLICIES.items():
        first = (cls.__doc__ or "").splitlines()[0]
        assert first.endswith((".", ";")), f"{name}: {first}"
        assert not first.startswith(f"{cls.__name__}("), f"{name} has no docstring of its own"
        assert describe(make(f"{name}(greedy)" if "inner" in cls.__dataclass_fields__ else name)).startswith(name)
