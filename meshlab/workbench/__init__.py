"""What people look at: charts, later panels and lessons.

In: DataFrames with the columns of `meshlab.schema` (or of a traffic result). Out: `alt.Chart` objects that a notebook
shows without a network, and files. Charts are pure: they never see a Lab, and aggregate before they draw.
Open `charts.py` next.
"""
