"""The contracts between the harness and its plugins: types without logic of the harness.

Plugin authors import them from `fssbench.api`.  Here each module is one contract.
"""
