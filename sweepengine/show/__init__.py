"""What people see: terminal, charts, tables, pages."""
