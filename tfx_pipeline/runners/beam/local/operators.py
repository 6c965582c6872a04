"""What runs each kind of step: elements go in one by one, and on to the next steps.

Elements come in bundles: the rows of a file, or all there are. What a bundle leaves in an operator
that makes a result (`Result`) can be taken, to another process or to disk, and merged.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from apache_beam import coders
from apache_beam.runners import common
from apache_beam.transforms import sideinputs, window

from tfx_pipeline.runners.beam.local.files import RecordFiles, read_chunks
from tfx_pipeline.runners.beam.local.graphs import Graph, share
from tfx_pipeline.runners.beam.local.plan import Collection, Step

# A batch ends at this many bytes of records, however few they are.
_BATCH_BYTES = 64 * 2**20
# A window that is made anew for each value parses its timestamp each time.
_windowed = window.GlobalWindows.windowed_value(None).with_value


class Operator:
    """One step at work. `receivers`: where each output goes, by its tag."""

    def __init__(self, step: Step, receivers: Receivers) -> None:
        self.step = step
        self.receivers = receivers

    def clear(self) -> None:
        """Before all else, and after an error everywhere: removes what is left on disk. In the
        process that finishes, alone."""

    def start(self) -> None:
        """Before the first bundle, in each process."""

    def begin(self, bundle: int) -> None:
        """Before the first element of a bundle; files have numbers of their own in a pass."""

    def process(self, element: Any) -> None:
        """One element (a Beam `WindowedValue`); it is handed on as it is."""
        self.receivers[None].receive(element)

    def process_values(self, values: Sequence[Any]) -> None:
        """Several elements' values at once."""
        for value in values:
            self.process(_windowed(value))

    def end(self) -> None:
        """After the last element of a bundle."""

    def finish(self) -> None:
        """After the last bundle."""

    def abandon(self) -> None:
        """After an error anywhere, and where nothing will be finished: frees what it holds."""

    def emit(self, value: Any) -> None:
        """Hands on a value."""
        self.receivers[None].receive(_windowed(value))


class Result(Operator, ABC):
    """Makes something of all its elements, and hands it on in `finish`."""

    @abstractmethod
    def take(self) -> Any:
        """What the last bundle left here, which is no longer here then; it can be pickled if the
        elements and accumulators can."""

    @abstractmethod
    def merge(self, taken: Any) -> None:
        """Takes in what `take` gave: here, in another process or in another job of the same
        steps."""


class Receivers(dict[Any, Any]):
    """Receivers by output tag; what nobody reads goes nowhere."""

    def __missing__(self, tag: Any) -> Fan:
        self[tag] = Fan([])
        return self[tag]


class Fan(common.Receiver):  # type: ignore[misc]
    """Hands an element to several operators."""

    def __init__(self, targets: Iterable[Operator]) -> None:
        self.targets = list(targets)

    def receive(self, element: Any) -> None:
        for target in self.targets:
            target.process(element)


class Single(common.Receiver):  # type: ignore[misc]
    """Hands an element to one operator."""

    def __init__(self, target: Operator) -> None:
        self.targets = [target]
        self._process = target.process

    def receive(self, element: Any) -> None:
        self._process(element)


class Keep(common.Receiver):  # type: ignore[misc]
    """Keeps the elements."""

    def __init__(self, kept: list[Any]) -> None:
        self.receive_into = kept.append

    def receive(self, element: Any) -> None:
        self.receive_into(element)


class Impulse(Operator):
    """One empty element."""

    def finish(self) -> None:
        self.emit(b"")


class Read(Operator):
    """Pushes what a source has through the steps that follow."""

    def run(self) -> None:
        """Reads it from its start to its end."""
        for chunk in read_chunks(self.step.work):
            self.push(chunk)

    def push(self, chunk: list[Any]) -> None:
        """Hands on what was read."""
        for target in self.receivers[None].targets:
            target.process_values(chunk)


class Do(Operator):
    """A `ParDo`, by Beam's own runner of functions."""

    def __init__(
        self,
        step: Step,
        receivers: Receivers,
        sides: list[list[Any]],
        graphs: dict[Any, Graph],
    ) -> None:
        super().__init__(step, receivers)
        function = copy.copy(step.work.dofn)  # Another step, or the next pass, may have it too.
        share(function, step.sides, graphs)
        self._is_set_up = False
        self._runner = common.DoFnRunner(
            function,
            step.work.args,
            step.work.kwargs,
            [
                sideinputs.SideInputMap(side.view, side.options, kept)
                for side, kept in zip(step.sides, sides, strict=True)
            ],
            step.inputs[0].windowing,
            tagged_receivers=receivers,
            step_name=step.label,
        )
        self.process = self._runner.process  # type: ignore[method-assign]

    def start(self) -> None:
        self._is_set_up = True
        self._runner.setup()

    def begin(self, bundle: int) -> None:
        self._runner.start()

    def end(self) -> None:
        self._runner.finish()

    def finish(self) -> None:
        self._is_set_up = False
        self._runner.teardown()

    def abandon(self) -> None:
        if self._is_set_up:
            self._is_set_up = False
            with suppress(Exception):  # The first error is the one to be told.
                self._runner.teardown()


class Same(Operator):
    """Hands on what it gets: flattening, and what only counts."""

    def process_values(self, values: Sequence[Any]) -> None:
        receiver = self.receivers[None]
        if isinstance(receiver, Keep):
            super().process_values(values)
            return
        for target in receiver.targets:
            target.process_values(values)


class Batch(Operator):
    """Lists of as many elements as Beam's `BatchElements` may make: no clock decides."""

    def __init__(self, step: Step, receivers: Receivers) -> None:
        super().__init__(step, receivers)
        self._rows = step.work
        self._batch: list[Any] = []
        self._bytes = 0

    def process(self, element: Any) -> None:
        self.process_values([element.value])

    def process_values(self, values: Sequence[Any]) -> None:
        for value in values:
            self._batch.append(value)
            if type(value) is bytes:
                self._bytes += len(value)
            if len(self._batch) >= self._rows or self._bytes >= _BATCH_BYTES:
                self._flush()

    def end(self) -> None:
        if self._batch:
            self._flush()

    def _flush(self) -> None:
        batch, self._batch, self._bytes = self._batch, [], 0
        self.emit(batch)


class KeepAll(Result):
    """Keeps rows, for those that read them as a whole."""

    def __init__(self, step: Step, receivers: Receivers) -> None:
        super().__init__(step, receivers)
        self._bundle: list[Any] = []
        self._all: list[Any] = []

    def process(self, element: Any) -> None:
        self._bundle.append(element.value)

    def take(self) -> list[Any]:
        taken, self._bundle = self._bundle, []
        return taken

    def merge(self, taken: list[Any]) -> None:
        self._all += taken

    def finish(self) -> None:
        for value in self._all:
            self.emit(value)


class Write(Result):
    """TFRecord files; their names are what it hands on."""

    def __init__(self, step: Step, receivers: Receivers) -> None:
        super().__init__(step, receivers)
        self._files = RecordFiles(step.work)

    def clear(self) -> None:
        self._files.clear()

    def begin(self, bundle: int) -> None:
        self._files.begin(bundle)

    def process(self, element: Any) -> None:
        self._files.write(element.value)

    def take(self) -> list[str]:
        return self._files.take()

    def merge(self, taken: list[str]) -> None:
        self._files.merge(taken)

    def finish(self) -> None:
        for name in self._files.finish():
            self.emit(name)

    def abandon(self) -> None:
        self._files.abandon()


class _ByKey(Result):
    """Finds the place of a key as Beam does: keys are one when their bytes are."""

    def __init__(self, step: Step, receivers: Receivers) -> None:
        super().__init__(step, receivers)
        self._encode = _encoder(step.inputs[0], step.label)
        # By place, of the bundle and of all that was merged: keys, and what belongs to them.
        self._keys: dict[Any, Any] = {}
        self._bundle: dict[Any, Any] = {}
        self._all_keys: dict[Any, Any] = {}
        self._all: dict[Any, Any] = {}

    def place(self, key: Any) -> Any:
        """Something hashable that stands for a key."""
        if type(key) is bytes or type(key) is str or key is None:
            place = (key,)
        else:
            place = self._encode(key)
        self._keys.setdefault(place, key)
        return place

    def take(self) -> list[tuple[Any, Any, Any]]:
        """Of each key: what stands for it, the key, and what belongs to it."""
        keys, bundle = self._keys, self._bundle
        self._keys, self._bundle = {}, {}
        return [(place, keys[place], found) for place, found in bundle.items()]


class Group(_ByKey):
    """`GroupByKey`."""

    def process(self, element: Any) -> None:
        key, value = element.value
        self._bundle.setdefault(self.place(key), []).append(value)

    def merge(self, taken: list[tuple[Any, Any, Any]]) -> None:
        for place, key, values in taken:
            self._all_keys.setdefault(place, key)
            self._all.setdefault(place, []).extend(values)

    def finish(self) -> None:
        for place, values in self._all.items():
            self.emit((self._all_keys[place], values))


class Combine(_ByKey):
    """`CombinePerKey`: an accumulator for each key takes each value in at once."""

    def __init__(self, step: Step, receivers: Receivers) -> None:
        super().__init__(step, receivers)
        self._fn = copy.copy(step.work)
        self._is_set_up = False

    def start(self) -> None:
        self._is_set_up = True
        self._fn.setup()

    def process(self, element: Any) -> None:
        key, value = element.value
        place = self.place(key)
        found = self._bundle
        known = found[place] if place in found else self._fn.create_accumulator()
        found[place] = self._fn.add_input(known, value)

    def take(self) -> list[tuple[Any, Any, Any]]:
        """As of all by key; accumulators are compact."""
        compact = self._fn.compact
        return [(place, key, compact(accumulator)) for place, key, accumulator in super().take()]

    def merge(self, taken: list[tuple[Any, Any, Any]]) -> None:
        merged = self._all
        for place, key, accumulator in taken:
            if place in merged:
                accumulator = self._fn.merge_accumulators([merged[place], accumulator])
            merged[place] = accumulator
            self._all_keys.setdefault(place, key)

    def finish(self) -> None:
        for place, accumulator in self._all.items():
            done = self._fn.extract_output(self._fn.compact(accumulator))
            self.emit((self._all_keys[place], done))
        self._is_set_up = False
        self._fn.teardown()

    def abandon(self) -> None:
        if self._is_set_up:
            self._is_set_up = False
            with suppress(Exception):
                self._fn.teardown()


def _encoder(keyed: Collection, label: str) -> Any:
    coder = coders.registry.get_coder(keyed.element_type or Any)
    key_coder = coder.key_coder() if coder.is_kv_coder() else coders.FastPrimitivesCoder()
    return key_coder.as_deterministic_coder(label).get_impl().encode
