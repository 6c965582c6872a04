"""The user's own functions, named in the config by import path or by `file.py:function`."""

from __future__ import annotations

import ast
import difflib
import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from tfx_pipeline.errors import AssayError, ConfigError, NodeFailed


def load(path: str, folder: Path) -> Callable[..., Any]:
    """The function that a config names.

    Args:
        path: `package.module.function`, or `file.py:function`.
        folder: Folder that a relative file starts from. It is on `sys.path` while the file is
            imported, so that the file can import its neighbours.

    Returns:
        The function.

    Raises:
        ConfigError: No such module, file or function, or the module fails when it is imported.
    """
    module_name, name = _split(path)
    module = _load_file(path, folder / module_name) if ":" in path else _import(path, module_name)
    found = getattr(module, name, None)
    if callable(found):
        return found
    functions = sorted(
        key for key, value in vars(module).items() if callable(value) and not key.startswith("_")
    )
    if found is not None:
        raise ConfigError(
            f"{path!r}: {name!r} is a {type(found).__name__}, not a function",
            hint=_these_exist(name, functions),
        )
    raise ConfigError(
        f"{path!r}: there is no function {name!r}", hint=_these_exist(name, functions)
    )


def check_importable(path: str, folder: Path = Path()) -> None:
    """Raises `load`'s ConfigError, before anything runs, if the function cannot be had."""
    load(path, folder)


def fingerprint(path: str, folder: Path) -> str:
    """SHA-256 of a function's source file and of the neighbours that it imports.

    A cached result must end with the code that made it. Neighbours are modules that lie beside the
    file, or in the package that the file is in; installed packages are the lock's business.

    Raises:
        ConfigError: As `load`.
    """
    source = inspect.getsourcefile(inspect.unwrap(load(path, folder)))
    if source is None:
        return hashlib.sha256(path.encode()).hexdigest()
    total = hashlib.sha256()
    for file in _with_neighbours(Path(source).resolve()):
        total.update(file.name.encode() + b"\0" + file.read_bytes())
    return total.hexdigest()


def _with_neighbours(source: Path) -> list[Path]:
    """The file and all that it imports from its own folder and package, in a stable order."""
    root = source.parent
    while (root / "__init__.py").is_file():
        root = root.parent
    found: set[Path] = set()
    pending = [source]
    while pending:
        file = pending.pop()
        if file in found:
            continue
        found.add(file)
        for name in _imported(file, root):
            module = (root if root in file.parents else file.parent).joinpath(*name.split("."))
            choices = (module.with_suffix(".py"), module / "__init__.py")
            pending += [choice for choice in choices if choice.is_file()]
    return sorted(found)


def _imported(file: Path, root: Path) -> list[str]:
    """Dotted names, from `root`, that a file may import: modules, and what may be one."""
    names: list[str] = []
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = [node.module] if node.module else []
            if node.level:
                package = [*file.relative_to(root).parts[: -node.level], *package]
            base = ".".join(package)
            names += [base, *(f"{base}.{alias.name}".lstrip(".") for alias in node.names)]
    parents = [name.rsplit(".", count)[0] for name in names for count in range(name.count(".") + 1)]
    return [name for name in dict.fromkeys([*names, *parents]) if name]


def call(path: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Calls the user's function.

    Raises:
        NodeFailed: The function raised: with the exception's type and message, and the last line
            of the user's own file that it passed through.
        AssayError: As the function raised it.
    """
    try:
        return function(*args, **kwargs)
    except AssayError:
        raise
    except Exception as error:
        raise NodeFailed(
            f"{path} raised {type(error).__name__}: {error}",
            where=_last_line_of(function, error),
            hint="Mend the function, then go on with `assay run --resume`.",
        ) from error


def transform(
    path: str, folder: Path, inputs: dict[str, Any], custom_config: dict[str, Any]
) -> dict[str, Any]:
    """Calls the user's `preprocessing_fn(inputs)` or `preprocessing_fn(inputs, custom_config)`.

    Returns:
        What it returned: transformed features by name, `label_xf` among them.

    Raises:
        ConfigError: It cannot be imported, or does not return a dict.
        NodeFailed: It raised.
    """
    function = load(path, folder)
    extra = {}
    if "custom_config" in inspect.signature(function).parameters:
        extra["custom_config"] = custom_config
    outputs = call(path, function, inputs, **extra)
    if not isinstance(outputs, dict):
        raise ConfigError(
            f"{path} returned a {type(outputs).__name__}, not a dict of tensors",
            where=_definition(function),
            hint="Return {'name_xf': tensor, ..., 'label_xf': label}.",
        )
    return outputs


def _split(path: str) -> tuple[str, str]:
    separator = ":" if ":" in path else "."
    module, _, name = path.rpartition(separator)
    if not module or not name.isidentifier():
        raise ConfigError(
            f"{path!r} names no function",
            hint="Write package.module.function or file.py:function.",
        )
    return module, name


def _load_file(path: str, file: Path) -> ModuleType:
    file = file.expanduser().resolve()
    if not file.is_file():
        others = sorted(p.name for p in file.parent.glob("*.py"))
        raise ConfigError(
            f"{path!r}: there is no file {file}", hint=_these_exist(file.name, others)
        )
    content = file.read_bytes()
    # Named by place and content: an edited file is read again, and two files of one name differ.
    digest = hashlib.sha256(str(file).encode() + content).hexdigest()[:12]
    name = f"_assay_user_{file.stem}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path!r}: {file} is no Python file", hint="Name a file.py:function.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(file.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if not isinstance(error, Exception):
            raise
        raise _import_failed(path, error, str(file)) from error
    finally:
        sys.path.remove(str(file.parent))
    return module


def _import(path: str, module_name: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise ConfigError(
                f"{path!r}: there is no module {error.name!r}",
                hint="Install it, or write file.py:function for a file beside pipeline.yaml.",
            ) from error
        raise _import_failed(path, error, module_name) from error
    except Exception as error:
        raise _import_failed(path, error, module_name) from error


def _import_failed(path: str, error: Exception, where: str) -> ConfigError:
    frames = traceback.extract_tb(error.__traceback__)
    line = error.lineno if isinstance(error, SyntaxError) else None
    lines = [frame.lineno for frame in frames if frame.filename == where]
    line = line or (lines[-1] if lines else None)
    return ConfigError(
        f"{path!r} fails when it is imported: {type(error).__name__}: {error}",
        where=f"{where}:{line}" if line else where,
        hint="Mend the file; nothing has run.",
    )


def _these_exist(name: str, others: list[str]) -> str:
    close = difflib.get_close_matches(name, others, n=1)
    if close:
        return f"Did you mean {close[0]!r}?"
    return f"It has: {', '.join(others)}." if others else "It has none."


def _definition(function: Callable[..., Any]) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else ""


def _last_line_of(function: Callable[..., Any], error: Exception) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    file = code.co_filename if code else ""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    return f"{file}:{lines[-1]}" if lines else _definition(function)
