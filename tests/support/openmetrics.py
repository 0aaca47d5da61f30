"""What an OpenMetrics text says, read by the parser of its client library."""

from __future__ import annotations

from prometheus_client.openmetrics.parser import text_string_to_metric_families


def samples(text: str) -> dict[tuple[str, tuple[str, ...]], float]:
    """The value of each sample by its name and the values of its labels."""
    return {
        (sample.name, tuple(v for k, v in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
        for sample in family.samples
    }
