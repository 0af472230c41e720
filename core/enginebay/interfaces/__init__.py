"""The five interfaces that backends implement."""
