"""What protoc made of the .proto files one level up; import it through `remex_core.proto`."""
