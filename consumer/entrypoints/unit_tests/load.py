"""A file of tests to a `UnitTestFile`, or to everything that is wrong with it, each mistake with its place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from consumer.entrypoints.unit_tests.definitions import UnitTest, UnitTestFile
from consumer.entrypoints.unit_tests.expectations import ExpectationReader
from consumer.entrypoints.unit_tests.form import Form
from consumer.entrypoints.unit_tests.steps import StepReader
from consumer.entrypoints.unit_tests.times import Times
from consumer.pipeline import tree
from consumer.pipeline.load import SIZE_MAX, PipelineError, Problem, load
from consumer.pipeline.model import Pipeline
from consumer.pipeline.problems import Path as Place
from consumer.pipeline.problems import ProblemList

DEFAULT_SHARD = "shardId-000000000000"

_FILE_KEYS = ("pipeline", "start", "environment", "tests")
_TEST_KEYS = ("name", "shard", "windows", "start", "steps", "expect")


def load_tests(path: Path, environ: Mapping[str, str]) -> UnitTestFile:
    """Read and check a file of tests and the pipeline that it names.

    `environ` is what `${NAME}` in the pipeline file refers to, after the test file's own `environment`. PipelineError
    holds everything that is wrong; of the pipeline file alone, if that is not sound.
    """
    text = _read(path)
    problems = ProblemList(str(path), text)
    root = tree.parse_tree(text, problems)
    problems.raise_if_any()
    if not isinstance(root, tree.Mapping):
        raise _whole_file(path, "a file of tests begins with `pipeline: FILE`, the pipeline that is tested")
    if "source" in root.entries:
        raise _whole_file(path, "is a pipeline file; a file of its tests begins with `pipeline: FILE`")
    form = Form(root, problems)
    form.mapping((), _FILE_KEYS, required=("pipeline", "tests"))
    pipeline_name = form.text(("pipeline",))
    variables = _environment(form)
    if pipeline_name is None:
        problems.raise_if_any()
    assert pipeline_name is not None
    pipeline = load(path.parent / pipeline_name, {**environ, **variables})
    tests = _Loader(form, pipeline).tests()
    problems.raise_if_any()
    return UnitTestFile(str(path), pipeline, tests)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_MAX + 1)
        if len(data) > SIZE_MAX:
            raise _whole_file(path, f"is larger than {SIZE_MAX // 1024} KiB")
        return data.decode("utf-8-sig")
    except OSError as error:
        raise _whole_file(path, f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _whole_file(path, f"is not UTF-8 at byte {error.start}") from error


def _whole_file(path: Path, message: str) -> PipelineError:
    return PipelineError([Problem(str(path), 1, 1, "", message)])


def _environment(form: Form) -> dict[str, str]:
    place: Place = ("environment",)
    if not form.has(place):
        return {}
    return {name: form.word((*place, name)) or "" for name in form.mapping(place) or ()}


class _Loader:
    """Reads the tests of a file whose pipeline is known. What is not sound is left out: it has been noted."""

    def __init__(self, form: Form, pipeline: Pipeline) -> None:
        self._form = form
        self._steps = StepReader(form, pipeline)
        self._expectations = ExpectationReader(form, pipeline)

    def tests(self) -> tuple[UnitTest, ...]:
        times = self._times(("start",), Times(None))
        places = self._form.items(("tests",), at_least_one=True)
        tests = [test for place in places if (test := self._test(place, times))]
        self._refuse_twins(places)
        return tuple(tests)

    def _refuse_twins(self, places: list[Place]) -> None:
        lines: dict[str, int] = {}
        for place in places:
            name, line = self._form.word((*place, "name")), self._form.line(place)
            if name is not None and lines.setdefault(name, line) != line:
                self._form.problem((*place, "name"), f"this name stands twice, first in line {lines[name]}")

    def _test(self, place: Place, times: Times) -> UnitTest | None:
        if self._form.mapping(place, _TEST_KEYS, required=("name", "steps", "expect")) is None:
            return None
        shard = (*place, "shard")
        times = self._times((*place, "start"), times)
        windows = self._expectations.windows((*place, "windows"))
        return UnitTest(
            name=self._form.text((*place, "name")) or "",
            line=self._form.line(place),
            shard=(self._form.text(shard) if self._form.has(shard) else None) or DEFAULT_SHARD,
            windows=windows,
            times=times,
            steps=self._steps.steps((*place, "steps"), times),
            expected=self._expectations.rows((*place, "expect"), windows, times),
        )

    def _times(self, place: Place, default: Times) -> Times:
        time_ms = self._form.time(place, Times(None)) if self._form.has(place) else None
        return default if time_ms is None else Times(time_ms)
