"""Orchestration of pipeline and stefaland: one thin file per stage, without arithmetic."""
