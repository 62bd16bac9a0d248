#!/usr/bin/env python3
"""Asks ansible-core what every line of cases.txt gives, and writes answers.json.

Run by hand with the Python of an ansible-core 2.19 installation, from this folder:

    python ask_ansible.py

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
from ansible._internal._templating._jinja_bits import TemplateOverrides
from ansible._internal._templating._utils import Omit
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
    return {"other": type(value).__name__, "text": str(value)}


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
            options = TemplateOptions(
                escape_backslashes=False,
                preserve_trailing_newlines=False,
                overrides=TemplateOverrides(keep_trailing_newline=True),
            )
            return {"value": str(templar.template(text, options=options))}
        raise ValueError(kind)
    except Exception as error:
        return {"error": chain(error)}


def main():
    variables = json.loads((HERE / "vars.json").read_text())
    answers = []
    for line in (HERE / "cases.txt").read_text().split("\n"):
        if not line.strip() or line.startswith("#"):
            continue
        kind, text = line.split(" ", 1)
        answer = ask(kind, text.replace("⏎", "\n"), trust(variables))
        answers.append({"case": line, **answer})
    with open(HERE / "answers.json", "w") as out:
        out.write("[\n" + ",\n".join(json.dumps(a) for a in answers) + "\n]\n")
    print(len(answers), "answers")


main()
