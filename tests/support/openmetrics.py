"""Parses OpenMetrics text with the parser of the client library."""

from __future__ import annotations

from prometheus_client.openmetrics.parser import text_string_to_metric_families


def samples(text: str) -> dict[tuple[str, tuple[str, ...]], float]:
    """Maps the name and label values of each sample to the sample's value."""
    return {
        (sample.name, tuple(v for k, v in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
        for sample in family.samples
    }
