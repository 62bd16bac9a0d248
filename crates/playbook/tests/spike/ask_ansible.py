#!/usr/bin/env python3
"""Asks ansible-core what every line of cases.txt and collections.txt gives: answers.json, collections.json.

Run by hand with the Python of an ansible-core 2.19 installation (with passlib and bcrypt 4.0 for the
password hashes; the collections with jmespath and netaddr), from this folder:

    ANSIBLE_COLLECTIONS_PATH=… python ask_ansible.py

A case is one line: its kind, a space, the text (⏎ stands for a newline).
  T  a template as in a task's argument
  E  a bare expression as in `debug: var=`
  C  a conditional as in `when`
  F  a template file, rendered as the template module renders it
"""
import json
import pathlib

from ansible.parsing.dataloader import DataLoader
from ansible._internal._datatag._tags import TrustedAsTemplate
from ansible._internal._templating._engine import TemplateEngine, TemplateOptions
from ansible._internal._templating._utils import Omit
from ansible.module_utils.datatag import native_type_name
from ansible.plugins.loader import init_plugin_loader
from ansible._internal._datatag._tags import Origin

HERE = pathlib.Path(__file__).parent
init_plugin_loader([])


def trust(value):
    if isinstance(value, str):
        return TrustedAsTemplate().tag(value)
    if isinstance(value, list):
        return [trust(v) for v in value]
    if isinstance(value, dict):
        return {k: trust(v) for k, v in value.items()}
    return value


def plain(value):
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return {"big": str(value)}
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return {"float": repr(value)}
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bytes):
        return {"bytes": value.decode("latin-1")}
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {"dict": [[plain(k), plain(v)] for k, v in value.items()]}
    if value is Omit:
        return {"omit": True}
    return {"other": native_type_name(value), "text": str(value)}


def chain(error):
    messages = []
    while error is not None:
        text = getattr(error, "message", None) or getattr(error, "_original_message", None) or str(error)
        messages.append(f"{type(error).__name__}: {text}")
        error = error.__cause__
    return messages


def ask(kind, text, variables):
    templar = TemplateEngine(loader=DataLoader(), variables=variables)
    text = TrustedAsTemplate().tag(text)
    try:
        if kind == "T":
            return {"value": plain(templar.template(text, options=TemplateOptions(value_for_omit=Omit)))}
        if kind == "E":
            return {"value": plain(templar.evaluate_expression(text))}
        if kind == "C":
            return {"value": templar.evaluate_conditional(text)}
        if kind == "F":
            options = TemplateOptions(escape_backslashes=False)
            result = templar.template(text, options=options)
            return {"value": "" if result is None else str(result)}
        raise ValueError(kind)
    except Exception as error:
        return {"error": chain(error)}


def ask_all(cases, answers_to):
    variables = json.loads((HERE / "vars.json").read_text())
    answers = []
    for line in (HERE / cases).read_text().split("\n"):
        if not line.strip() or line.startswith("#"):
            continue
        kind, text = line.split(" ", 1)
        answer = ask(kind, text.replace("⏎", "\n"), trust(variables))
        answers.append({"case": line, **answer})
    with open(HERE / answers_to, "w") as out:
        out.write("[\n" + ",\n".join(json.dumps(a) for a in answers) + "\n]\n")
    print(len(answers), "answers")


def main():
    ask_all("cases.txt", "answers.json")
    ask_all("collections.txt", "collections.json")


main()
