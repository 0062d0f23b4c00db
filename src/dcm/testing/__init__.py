"""Contract tests, test doubles and hypothesis strategies for plugin authors and for dcm itself.

Needs the extra `test`. Import what you use from the modules: `dcm.testing.doubles`,
`dcm.testing.contracts`, `dcm.testing.strategies`.
"""
