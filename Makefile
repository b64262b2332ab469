build:
	go build -o bin/bootagent ./cmd/bootagent
