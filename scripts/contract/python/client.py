"""Calls functions of the generated package `contract` by the operation's id, for walk.py: a line of JSON per call and
per answer. It knows no operation; names are found by reflection."""

import enum
import importlib
import inspect
import json
import pkgutil
import sys
import typing

import contract.api
from contract.client import AuthenticatedClient
from contract.types import Unset

plain = lambda name: name.replace("_", "").lower()
functions = {
    plain(module.name.rpartition(".")[2]): module.name
    for module in pkgutil.walk_packages(contract.api.__path__, "contract.api.")
    if not module.ispkg
}


def parts(annotation):
    """The types in an annotation: of `list[A] | Unset` these are `list[A]` and `Unset`."""
    if typing.get_origin(annotation) is list or not typing.get_args(annotation):
        return [annotation]
    return [part for argument in typing.get_args(annotation) for part in parts(argument)]


def typed(value, annotation):
    """JSON as the generated function wants it."""
    for kind in parts(annotation):
        if typing.get_origin(kind) is list and isinstance(value, list):
            return [typed(item, typing.get_args(kind)[0]) for item in value]
        if hasattr(kind, "from_dict") and isinstance(value, dict):
            return kind.from_dict(value)
        if inspect.isclass(kind) and issubclass(kind, enum.Enum):
            return kind(value)
    return value


PLAIN = {"str": str, "int": int, "float": (int, float), "bool": bool, "None": type(None), "Unset": Unset}


def check(name, value, annotation):
    """The generated types take any text or number for any other. Whoever has a type checker relies on them all the same."""
    wanted = annotation.split(" | ")
    if set(wanted) <= set(PLAIN):
        fits = [kind for kind in wanted if isinstance(value, PLAIN[kind]) and (kind == "bool" or not isinstance(value, bool))]
        if not fits:
            raise TypeError(f"`{name}` is {value!r}, not {annotation}")


def known(value):
    """An answer without what its type has no attribute for. A type without attributes is a map: all of it counts."""
    if isinstance(value, list):
        for item in value:
            known(item)
    elif hasattr(value, "additional_properties"):
        fields = [field for field in type(value).__attrs_attrs__ if field.name != "additional_properties"]
        if fields:
            value.additional_properties.clear()
        for field in fields:
            check(field.name, getattr(value, field.name), field.type)
            known(getattr(value, field.name))
    return value


def call(client, wanted):
    function = importlib.import_module(functions[plain(wanted["operation"])]).sync_detailed
    parameters = inspect.signature(function).parameters
    names = {plain(name): name for name in parameters}
    given = dict(wanted["path"]) | wanted["query"] | ({"body": wanted["body"]} if "body" in wanted else {})
    arguments = {}
    for name, value in given.items():
        arguments[names[plain(name)]] = typed(value, parameters[names[plain(name)]].annotation)
    return function(client=client, **arguments).parsed


def main(base):
    seen, clients = {}, {}

    def keep(response):
        response.read()
        seen.update(status=response.status_code, body=response.text)

    for line in sys.stdin:
        wanted = json.loads(line)
        seen.clear()
        key = wanted["key"]
        if key not in clients:
            hooks = {"event_hooks": {"response": [keep]}}
            clients[key] = AuthenticatedClient(base_url=base, token=key, httpx_args=hooks)
        try:
            parsed = call(clients[key], wanted)
            answer = seen | ({} if parsed is None else {"decoded": known(parsed).to_dict()})
        except Exception as error:  # whatever a client's user would meet
            answer = seen | {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


main(sys.argv[1])
