"""What a person can put right: said in one or two lines, never with a traceback."""


class Problem(Exception):
    """Something outside is not as it must be. `what` names it and where it is, `remedy` says what to do."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what, remedy)  # as they were given: so it can come out of another process
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.what}\n{self.remedy}"
