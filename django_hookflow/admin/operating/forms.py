"""What operations ask for: a reason, a step, a result."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn

from django import forms

from django_hookflow.conf import conf
from django_hookflow.events import codec
from django_hookflow.exceptions import InvalidText, NotSerializable
from django_hookflow.texts import MAX_REASON, checked_reason

if TYPE_CHECKING:
    from django_hookflow.admin.operating.situation import Situation

#: Steps that are offered in a list. Of a run that has more, the last ones are suggested and any can be typed.
MAX_OFFERED = 200


class ReasonField(forms.CharField):
    """What the log takes for a reason."""

    def run_validators(self, value: str) -> None:
        try:
            checked_reason(value)
        except InvalidText as error:
            raise forms.ValidationError(f"{error}.") from error


class ReasonForm(forms.Form):
    """Why; and up to which event the person has seen the log, so that a second click can be distinguished from a second wish."""

    reason = ReasonField(
        widget=forms.Textarea(attrs={"rows": 2, "maxlength": MAX_REASON}),
        help_text="Recorded in the log with your name, for good: leave out anything that may have to be deleted later.",
    )
    seen = forms.IntegerField(widget=forms.HiddenInput, min_value=0, max_value=2**31 - 1)

    def __init__(self, situation: Situation | None, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.situation = situation

    def prepare(self) -> None:
        """Puts the cursor where the person begins to write, and ties to each field its help and its errors."""
        next(iter(self.visible_fields())).field.widget.attrs["autofocus"] = True
        for field in self.visible_fields():  # Django ties the help from 5.0 on, and the errors from 5.2
            described_by = [f"{field.auto_id}_helptext"] if field.help_text else []
            if field.errors:
                described_by.append(f"{field.auto_id}_error")
                field.field.widget.attrs["aria-invalid"] = "true"
            if described_by:
                field.field.widget.attrs["aria-describedby"] = " ".join(described_by)

    @property
    def given_reason(self) -> str:
        return str(self.cleaned_data.get("reason", ""))


class RewindForm(ReasonForm):
    field_order = ["step", "reason"]

    def __init__(self, situation: Situation, *args: Any, **kwargs: Any) -> None:
        super().__init__(situation, *args, **kwargs)
        self.suggestions = situation.steps[-MAX_OFFERED:][::-1]
        if len(situation.steps) <= MAX_OFFERED:
            self.fields["step"] = forms.ChoiceField(
                label="Run again from step",
                # None is chosen in advance: what the first one would do again, payments perhaps, is not for a slip.
                choices=[("", "Choose a step"), *((step, step) for step in situation.steps)],
            )
        else:
            self.fields["step"] = forms.CharField(
                label="Run again from step",
                max_length=255,
                strip=False,
                widget=forms.TextInput(attrs={"list": "steps-of-the-run", "autocomplete": "off"}),
                help_text=f"The run has {len(situation.steps):,} steps. The last {MAX_OFFERED} are suggested.",
            )
        self.order_fields(self.field_order)

    def clean_step(self) -> str:
        step: str = self.cleaned_data["step"]
        if self.situation and step not in self.situation.steps:
            raise forms.ValidationError("This run has no recorded step with that name.")
        return step


class ResolveForm(ReasonForm):
    result = forms.CharField(
        label="What the step returned, as JSON",
        max_length=None,
        widget=forms.Textarea(attrs={"rows": 6, "spellcheck": "false", "class": "hookflow-json"}),
        help_text='For example {"charge_id": "ch_1", "paid": true}, or null if it returned nothing.',
    )
    field_order = ["result", "reason"]

    def clean_result(self) -> Any:
        try:
            value = json.loads(self.cleaned_data["result"], parse_constant=refuse_constant)
            codec.encode(value, path="result", limit=conf.max_payload_size)
        except NotSerializable as error:
            raise forms.ValidationError(f"{error}.") from error
        except RecursionError as error:
            raise forms.ValidationError("This JSON is nested too deeply.") from error
        except ValueError as error:
            raise forms.ValidationError(f"This is not JSON: {error}.") from error
        return value


def refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
