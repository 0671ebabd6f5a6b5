"""How long a step took is recorded with it, and is the same wherever it is shown."""

from __future__ import annotations

import datetime
import re
from typing import TYPE_CHECKING, Any

import pytest

from django_hookflow.models import StepExecution
from django_hookflow.timeline import events_of, present_of, story_of
from tests.log.calls import ask
from tests.timeline import shop
from tests.timeline.frozen import timeline

if TYPE_CHECKING:
    from tests.timeline.frozen import Stage


@pytest.mark.django_db
def test_a_pause_in_the_middle_of_a_step_does_not_shorten_it(stage: Stage, settings: Any) -> None:
    """A step of 60 s; 50 s into it somebody pauses the run."""
    settings.DJANGO_HOOKFLOW_TURN_BUDGET = 600
    run = stage.trigger(shop.asking, "order-1")

    def work(seconds: float) -> None:
        if seconds == 2:  # the charge
            stage.pass_time(50)
            run.pause(actor="ada", reason="look")
            stage.pass_time(10)

    shop.work = work
    stage.deliver("order-1")
    minute = datetime.timedelta(seconds=60)
    (step,) = ask("SELECT * FROM hookflow_step_durations WHERE run_id = 'order-1' AND step_id = 'charge'")
    assert (step["duration"], step["waited"]) == (minute, datetime.timedelta())
    (whole,) = ask("SELECT * FROM hookflow_run_durations WHERE run_id = 'order-1'")
    assert (whole["worked"], whole["waited"]) == (minute, datetime.timedelta())
    assert StepExecution.objects.get(step_id="charge").took == 60
    present = present_of(run.pk)
    row = story_of(events_of(run.pk), present).row("charge")
    assert row is not None
    assert (row.worked(present.now), row.seconds(present.now)) == (60, 60)
    text = timeline("order-1", "--events")
    assert re.search("^✓ charge +█{50,} +1 min$", text, re.MULTILINE)
    assert "took 1 min" in text
    stage.pass_time(30)
    assert re.search("^✓ charge +█{30,40} +1 min$", timeline("order-1"), re.MULTILINE)
