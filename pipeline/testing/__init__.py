"""What tests are written with, ours and yours.

`specs` holds given / when / then for one agent, without an engine; `app` holds the whole pipeline in memory; `plugin` makes a pytest
fixture of that. docs/testing.md shows all three.
"""
