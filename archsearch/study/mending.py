"""Studies that an older archsearch has made unreadable: a score that was no number, in a complete trial."""

from __future__ import annotations

from sqlalchemy import Engine, text

_BROKEN = "SELECT DISTINCT trial_id FROM trial_values WHERE value IS NULL AND value_type = 'FINITE'"


def mend(engine: Engine) -> int:
    """Close trials as failed where SQLite keeps not a number (nan) as nothing, which Optuna refuses to read.

    Returns:
        How many there were.
    """
    if engine.dialect.name != "sqlite":
        return 0
    with engine.connect() as connection:
        broken = [{"id": row[0]} for row in connection.execute(text(_BROKEN))]
        if broken:
            connection.execute(text("UPDATE trials SET state = 'FAIL' WHERE trial_id = :id"), broken)
            connection.execute(text("DELETE FROM trial_values WHERE trial_id = :id"), broken)
            connection.commit()
    return len(broken)
