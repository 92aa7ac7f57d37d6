"""How the screen is parted, in Textual's CSS."""

from __future__ import annotations

CSS = """
Screen { layout: vertical; background: black; }
#head, #tabs, #tiles, #said, #span, #task-sums, #task-said { height: 1; }
#head { background: $primary-background; }
#notes { height: auto; max-height: 4; }
#foot { height: auto; max-height: 6; background: $primary-background; }
#views, #views > Vertical { height: 1fr; }
#rates { height: 5fr; } #newest { height: 3fr; } #stopped { height: 2fr; }
#processes { height: 3fr; } #calls { height: 2fr; }
#settings { height: 3fr; } #changes { height: 2fr; }
#books { height: 3fr; } #parts { height: 2fr; }
#asked { display: none; height: 1; border: none; padding: 0; }
#asked.open { display: block; }
#small { display: none; }
.small #small { display: block; height: 1fr; }
.small #views, .small #tabs, .small #head, .small #foot, .small #notes { display: none; }
"""
