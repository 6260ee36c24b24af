"""Parts of the published maps, the scorecard and the report page."""
