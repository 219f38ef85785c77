"""Long lists in parts, for machines that others use too."""


def part(text: str) -> slice:
    """Every Nth of a list, from the Kth on, of "K/N"."""
    first, _, each = text.partition("/")
    if not 1 <= int(first) <= int(each):
        raise ValueError(text)
    return slice(int(first) - 1, None, int(each))
