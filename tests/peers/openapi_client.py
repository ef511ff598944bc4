"""Holds the admin API against its own OpenAPI document, with a validator that knows nothing of Meridian.

usage: openapi_client.py URL TOKEN_FILE

The document itself must be valid OpenAPI 3.1. Then every GET it describes is sent: the status must be one
that it names, and the body must fit the schema it gives. A parameter in a path is filled from the list of
the same name. A method that it does not describe must be refused with 405.
"""

import json
import re
import sys
import urllib.error
import urllib.request

from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

base, token_file = sys.argv[1:3]
token = open(token_file, encoding="utf-8").read().strip()
STREAMS = "text/event-stream"


def send(method, path, authorized=True):
    request = urllib.request.Request(base + path, method=method)
    if authorized:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        response = urllib.request.urlopen(request, timeout=20)
    except urllib.error.HTTPError as error:
        response = error
    with response:
        media = response.headers.get_content_type()
        if media == STREAMS:
            lines = iter(response.readline, b"")
            data = next(line for line in lines if line.startswith(b"data: "))
            return response.status, media, data[len(b"data: "):]
        return response.status, media, response.read()


status, _, text = send("GET", "/api/v1/openapi.json")
assert status == 200, text
document = json.loads(text)
validate(document)


def fits(value, schema, where):
    whole = {"components": document["components"], "allOf": [schema]}
    faults = list(Draft202012Validator(whole).iter_errors(value))
    assert not faults, f"{where}: {faults[0].json_path}: {faults[0].message}"


def example(path):
    """The path with each parameter filled by something that exists."""
    for name in re.findall(r"{(\w+)}", path):
        prefix = path.split("{" + name + "}")[0].rstrip("/")
        _, _, listed = send("GET", prefix)
        entries = next(value for value in json.loads(listed).values() if isinstance(value, list))
        if not entries:
            return None
        path = path.replace("{" + name + "}", str(entries[0][name]))
    return path


def resolved(response):
    while "$ref" in response:
        target = document
        for part in response["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        response = target
    return response


checked = 0
for path, verbs in document["paths"].items():
    operation = verbs.get("get")
    if operation is None:
        continue
    target = example(path)
    if target is None:
        continue
    status, media, body = send("GET", target)
    responses = operation["responses"]
    assert str(status) in responses or "default" in responses, f"{path}: {status} is not described"
    assert status == 200, f"{path}: {status} {body!r}"
    content = resolved(responses["200"])["content"]
    assert media in {name.split(";")[0] for name in content}, f"{path}: {media} is not described"
    schema = next(iter(content.values()))["schema"]
    if media in ("application/json", STREAMS):
        fits(json.loads(body), schema, path)
    elif media.startswith("text/"):
        fits(body.decode(), schema, path)
    else:
        assert body, f"{path}: no bytes"      # OpenAPI 3.1 gives raw bytes no schema to fit

    status, media, body = send("GET", target, authorized=False)
    assert (status, media) == (401, "application/problem+json"), f"{path}: {status} {media}"
    refused = responses.get("401") or responses["default"]
    fits(json.loads(body), next(iter(resolved(refused)["content"].values()))["schema"], path)

    for method in ("PUT", "POST", "DELETE", "PATCH"):
        if method.lower() not in verbs:
            status, _, _ = send(method, target)
            assert status == 405, f"{method} {path}: {status}"
    checked += 1

print(f"checked {checked} of {sum('get' in verbs for verbs in document['paths'].values())}")
