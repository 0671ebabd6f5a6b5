"""Workflows that say in a file what they have done. The same code runs with 0.0.4 and with this package."""

from __future__ import annotations

import os
from pathlib import Path

from django_hookflow import workflow


def effect(name, value):
    with Path(os.environ["EFFECTS"]).open("a") as file:
        file.write(f"{name}\n")
    return value


@workflow(workflow_id="order")
def order(ctx):
    number = ctx.data.get("number")
    checked = ctx.step.run("check", effect, f"check {number}", {"total": 10, "filter": {"$set": {"a": 1}}})
    assert checked["filter"] == {"$set": {"a": 1}}, checked
    ctx.step.sleep("wait", seconds=ctx.data.get("seconds", 3600))
    paid = ctx.step.run("charge", effect, f"charge {number}", {"status_code": 200, "data": None})
    sent = ctx.step.run("ship", effect, f"ship {number}", {"of": checked["total"], "paid": paid["status_code"]})
    return {"status": "completed", "result": sent}


@workflow(workflow_id="breaks")
def breaks(ctx):
    first = ctx.step.run("one", effect, f"one {ctx.data.get('number')}", 1)

    def fetch():
        if os.environ.get("BREAKS", "1") == "1":
            raise LookupError("no article 17 in 'stock'")
        return "fixed"

    return [first, ctx.step.run("two", fetch)]


@workflow(workflow_id="crashes")
def crashes(ctx):
    return ctx.step.run("one", effect, f"one {ctx.data.get('number')}", 1) / 0
