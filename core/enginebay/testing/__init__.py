"""The conformance kit: what every backend of one interface must do, run by `enginebay verify` and by pytest.

Each check is a function named after its rule; what a backend does not declare must be refused, so no check is skipped.
"""
