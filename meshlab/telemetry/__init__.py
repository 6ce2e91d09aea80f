"""What happened: from the data planes' own words to frames.

In: batches of access logs as the proxies sent them (`store`), rows of the control plane's API, samples of a runtime.
Out: pandas frames whose columns, types, units and meanings are those of `schema`.
`store` keeps batches unparsed (the collector stays cheap); each data plane turns its own dialect into
`events.FlowEvent`; `frames` turns events and rows into frames; `queries` answers the usual questions on them.
Open `schema.py` next. Only `frames` and `queries` import pandas, so that daemons that use the store stay small.
"""
