"""One HTML file that shows a recognised clip to people: no table to read, nothing to install, no network."""

from __future__ import annotations

from pyemo.report.contents import Contents, Curve, Picture, Row, Verdict
from pyemo.report.page import render
from pyemo.report.video import VideoChoice
from pyemo.report.writer import write_report

__all__ = ["Contents", "Curve", "Picture", "Row", "Verdict", "VideoChoice", "render", "write_report"]
