"""`kmodlab grade --live`: a running class on a page.

`board.py` is what there is to see, `scroll.py` the end of a console; neither knows of machines, nor of HTTP.
`server.py` serves them, with the parts of the dashboard's server. Nobody imports this package but for `--live`.
"""
