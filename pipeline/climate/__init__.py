"""What each cell's own forcings give: evapotranspiration, and the statics of its climate."""
