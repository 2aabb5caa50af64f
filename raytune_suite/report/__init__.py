"""An experiment as one HTML file that works offline: summary, pictures, a sortable table of trials."""

from __future__ import annotations

import json
from datetime import datetime
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from raytune_suite.analysis import Experiment
from raytune_suite.plots import figures, memory, model, parameters, surrogate, tables
from raytune_suite.plots.style import DARK
from raytune_suite.report.listing import study, trials
from raytune_suite.report.summary import subtitle, summary
from raytune_suite.report.words import value_text, when

if TYPE_CHECKING:
    import plotly.graph_objects as go

Figures = dict[str, "go.Figure"]


def write(experiment: Experiment, path: Path | str | None = None) -> Path:
    """Write the report, by default to ``report.html`` in the experiment's folder, and return where it is."""
    path = Path(path) if path is not None else experiment.folder / "report.html"
    path.write_text(html(experiment), encoding="utf-8")
    return path


def html(experiment: Experiment) -> str:
    """The report as text; everything that comes from the experiment is escaped."""
    from plotly.offline import get_plotlyjs

    drawn: Figures = {}
    sections = [
        ("summary", "Summary", summary(experiment)),
        ("progress", "Progress", _progress(experiment, drawn)),
        ("curves", "Learning curves", _curves(experiment, drawn)),
        ("parameters", "Parameters", _parameters(experiment, drawn)),
        ("model", "Model", _model(experiment, drawn)),
        ("timeline", "Timeline", _timeline(experiment, drawn)),
        ("memory", "GPU memory", _memory(experiment, drawn)),
        ("trials", "Trials", trials(experiment)),
        ("environment", "Study and environment", study(experiment)),
    ]
    sections = [section for section in sections if section[2]]
    fields = {
        "title": f"{escape(experiment.name)} · raytune report",
        "name": escape(experiment.name),
        "subtitle": subtitle(experiment),
        "nav": "".join(f'<a href="#{key}">{title}</a>' for key, title, _ in sections),
        "sections": "\n".join(f'<section id="{k}"><h2>{t}</h2>{body}</section>' for k, t, body in sections),
        "footer": _footer(experiment),
        "figures": _embedded(drawn),
        "dark": json.dumps(DARK),
        "plotly": get_plotlyjs().replace("</script", "<\\/script"),
    }
    return _filled(files("raytune_suite").joinpath("templates/report.html").read_text(encoding="utf-8"), fields)


def _filled(template: str, fields: dict[str, str]) -> str:
    """Each ``{{name}}`` replaced once, from left to right: what is filled in is never searched again."""
    parts = template.split("{{")
    filled = [parts[0]]
    for part in parts[1:]:
        name, _, rest = part.partition("}}")
        filled += [fields[name], rest]
    return "".join(filled)


def _embedded(drawn: Figures) -> str:
    """The figures as JSON that cannot end the script element it stands in."""
    plain = {name: json.loads(figure.to_json()) for name, figure in drawn.items()}
    for figure in plain.values():
        figure["layout"].pop("template", None)
    return json.dumps(plain, separators=(",", ":")).replace("<", "\\u003c")


def _figure(drawn: Figures, name: str, figure: go.Figure) -> str:
    drawn[name] = figure
    height = int(figure.layout.height or 360)
    return f'<div class="card"><div class="figure" id="{name}" style="height:{height}px"></div></div>'


def _progress(experiment: Experiment, drawn: Figures) -> str:
    about = "The value of each trial (its best over any iteration) and the best so far."
    return (
        f'<p class="about">{about}</p><div class="pair">'
        f"{_figure(drawn, 'best-over-trials', figures.best_over_trials(experiment))}"
        f"{_figure(drawn, 'best-over-time', figures.best_over_time(experiment))}</div>"
    )


def _curves(experiment: Experiment, drawn: Figures) -> str:
    marks = "A marker shows where a trial ended: "
    rungs = " Dotted lines are the iterations at which the scheduler decides." if tables.rungs(experiment) else ""
    return f'<p class="about">{marks}{_key()}.{rungs}</p>{_figure(drawn, "curves-figure", figures.curves(experiment))}'


def _parameters(experiment: Experiment, drawn: Figures) -> str:
    importance = (
        "How much of the variation of the value each parameter explains (functional ANOVA); the whisker is its range "
        "over resampled trials. Trials that were stopped early count with the best value they reached; failed ones "
        "do not count."
    )
    panels = "".join(
        _figure(drawn, f"slice-{place}", parameters.slice_of(experiment, one))
        for place, one in enumerate(tables.slices(experiment))
        if one.points
    )
    if not panels:
        return '<p class="about">No trial has a value yet.</p>'
    slices = f"The value over each parameter: {_key()}."
    lines = "Each line is a trial; the stronger its colour the better its value, which is the last axis."
    return (
        f'<p class="about">{importance}</p>{_figure(drawn, "importance", parameters.importance(experiment))}'
        f'<p class="about next">{slices}</p><div class="panels">{panels}</div>'
        f'<p class="about next">{lines}</p>{_figure(drawn, "parallel", parameters.parallel(experiment))}'
    )


def _model(experiment: Experiment, drawn: Figures) -> str:
    """What the searcher's model believes; nothing at all for a searcher that has none."""
    believed = model.beliefs(experiment)
    if not believed.applies:
        return ""
    if not believed.panels:
        return f'<p class="about">The model has too little to go by. {escape(believed.missing or "")}</p>'
    panels = "".join(
        _figure(drawn, f"effect-{place}", surrogate.effect_of(experiment, believed, panel))
        for place, panel in enumerate(believed.panels)
    )
    about = (
        "What the searcher's model believes each parameter does to a whole training: the mean over configurations like "
        "those tried, with a band of one standard deviation, which is wide where little was tried. Points are trials "
        "that trained to the end, ticks at the foot the others. No curve goes beyond the worst value of a whole "
        "training."
    )
    return f'{_predictions(experiment, drawn)}<p class="about next">{about}</p><div class="panels">{panels}</div>'


def _predictions(experiment: Experiment, drawn: Figures) -> str:
    """What the model predicted when it proposed a trial, beside what came."""
    table = model.predictions(experiment)
    if not table.rows:
        return f'<p class="about">{surrogate.NOT_ONE}</p>'
    drawing = _figure(drawn, "predictions", surrogate.predicted_of(experiment, table))
    count = len(table.rows)
    facts = [
        ("compared", f"{count}"),
        ("inside the range", f"{table.inside} ({table.inside / count:.0%})"),
        ("median error", value_text(table.error)),
        ("not comparable", f"{table.left_out}"),
    ]
    rows = "".join(f"<tr><td>{name}</td><td class=n>{text}</td></tr>" for name, text in facts)
    reading = (
        "Each point is a trial that the model proposed and that trained to the end: what was predicted when it was "
        "proposed, with one standard deviation, over what came. If the model knows how sure it may be, about two "
        "thirds of the bars meet the dashed line, fewer where equal configurations come out differently. Trials that "
        "were stopped early, failed or still run cannot be compared."
    )
    words = f'<div class="card"><h3>Predictions</h3><p class="about">{reading}</p><table>{rows}</table></div>'
    return f'<div class="pair">{drawing}{words}</div>'


def _key() -> str:
    """What the colours mean."""
    return ", ".join(f'<span class="state {fate}">{fate}</span>' for fate in tables.FATES)


def _timeline(experiment: Experiment, drawn: Figures) -> str:
    about = "Which trial each worker had when; the numbers are the trials'."
    return f'<p class="about">{about}</p>{_figure(drawn, "timeline-figure", figures.timeline(experiment))}'


def _memory(experiment: Experiment, drawn: Figures) -> str:
    """Nothing where no trial was forecast and measured."""
    if not memory.peaks(experiment):
        return ""
    about = (
        "What torch reserved of the GPU at most, over what was forecast before the trial began; on the dashed line "
        "both are the same. A share follows from the forecast as corrected by the trials before."
    )
    return f'<p class="about">{about}</p>{_figure(drawn, "memory-figure", memory.gpu_memory(experiment))}'


def _footer(experiment: Experiment) -> str:
    suite = escape(str(experiment.record.experiment.get("suite", "")))
    sha = escape(str(experiment.record.experiment.get("study_sha256", ""))[:12])
    now = when(datetime.now().timestamp())
    return f"Written {now} by raytune_suite {suite} from {experiment.record.seq:,} events; study {sha}."
